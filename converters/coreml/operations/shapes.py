"""Operations that move elements, and that compute shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from converters.coreml.arguments import Arguments

PADDING: Final = {"constant": "constant", "reflect": "reflect", "replicate": "replicate"}


def shape(given: Arguments) -> Tensor:
    """Return the sizes, int32."""
    return torch.tensor(given.tensor().shape, dtype=torch.int32)


def reshape(given: Arguments) -> Tensor:
    """Reshape; 0 keeps a size, -1 is what remains."""
    x, wanted = given.tensor(), given.wholes("shape")
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)])


def transpose(given: Arguments) -> Tensor:
    """Reorder axes."""
    return given.tensor().permute(given.wholes("perm"))


def expand_dims(given: Arguments) -> Tensor:
    """Put in axes of size 1, at places of the result."""
    x = given.tensor()
    rank = x.ndim + len(given.wholes("axes"))
    for axis in sorted(axis % rank for axis in given.wholes("axes")):
        x = x.unsqueeze(axis)
    return x


def squeeze(given: Arguments) -> Tensor:
    """Take out axes of size 1."""
    x = given.tensor()
    axes = given.wholes("axes", tuple(axis for axis, size in enumerate(x.shape) if size == 1))
    return x.squeeze(tuple(axes))


def concat(given: Arguments) -> Tensor:
    """Join along an axis; scalars make a vector."""
    assert not given.flag("interleave")
    return torch.cat([value.reshape(value.shape or (1,)) for value in given.tensors()], given.whole("axis"))


def stack(given: Arguments) -> Tensor:
    """Join along a new axis."""
    return torch.stack(given.tensors(), given.whole("axis"))


def split(given: Arguments) -> tuple[Tensor, ...]:
    """Cut along an axis, into given sizes or a number of equal parts."""
    x, axis = given.tensor(), given.whole("axis")
    if "split_sizes" in given:
        return torch.split(x, given.wholes("split_sizes"), axis)
    return torch.tensor_split(x, given.whole("num_splits"), axis)


def slice_by_index(given: Arguments) -> Tensor:
    """Cut begin..end of every axis, in steps; masks say where an axis is whole on a side, or dropped."""
    x = given.tensor()
    begin, end = given.wholes("begin"), given.wholes("end")
    stride = given.wholes("stride", (1,) * x.ndim)
    begins, ends, dropped = (given.flags(f"{name}_mask", x.ndim) for name in ("begin", "end", "squeeze"))
    for axis in range(x.ndim):
        if dropped[axis]:
            chosen = torch.tensor([begin[axis] % x.shape[axis]])
        else:
            first, last = (None if begins[axis] else begin[axis]), (None if ends[axis] else end[axis])
            chosen = torch.arange(x.shape[axis])[first:last]
            assert stride[axis] > 0
            chosen = chosen[:: stride[axis]]
        if len(chosen) != x.shape[axis]:
            step = stride[axis] if not dropped[axis] else 1
            x = _narrowed(x, axis, chosen, step)
    return x.reshape([size for axis, size in enumerate(x.shape) if not dropped[axis]])


def _narrowed(x: Tensor, axis: int, chosen: Tensor, step: int) -> Tensor:
    index: list[slice] = [slice(None)] * x.ndim
    first = int(chosen[0]) if len(chosen) else 0
    index[axis] = slice(first, first + (len(chosen) - 1) * step + 1 if len(chosen) else first, step)
    return x[tuple(index)]


def pad(given: Arguments) -> Tensor:
    """Pad the last axes: a pair of numbers an axis, in the axes' order, which is the opposite of torch's."""
    x, amounts = given.tensor(), given.wholes("pad")
    pairs = [(amounts[i], amounts[i + 1]) for i in range(0, len(amounts), 2)]
    flat = [number for pair in reversed(pairs) for number in pair]
    mode = PADDING[given.text("mode", "constant")]
    if mode == "constant":
        return functional.pad(x, flat, value=given.number("constant_val", 0.0))
    while flat[-2:] == [0, 0]:  # torch repeats and mirrors over the last axes alone
        flat = flat[:-2]
    return functional.pad(x, flat, mode=mode) if flat else x


def tile(given: Arguments) -> Tensor:
    """Repeat along every axis."""
    return given.tensor().repeat(given.wholes("reps"))


def reverse(given: Arguments) -> Tensor:
    """Mirror along axes."""
    return given.tensor().flip(given.wholes("axes"))


def fill(given: Arguments) -> Tensor:
    """Return a tensor of one value."""
    return given.tensor("value").reshape(()).expand(given.wholes("shape")).clone()


def fill_like(given: Arguments) -> Tensor:
    """Return a tensor of one value and another's shape."""
    return given.tensor("value").reshape(()).expand(given.tensor("ref_tensor").shape).clone()


def range_1d(given: Arguments) -> Tensor:
    """Return start, start + step ... below end."""
    start, end, step = given.tensor("start"), given.tensor("end"), given.tensor("step")
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


def gather(given: Arguments) -> Tensor:
    """Take slices along an axis; negative places count from the end."""
    x, indices, axis = given.tensor(), given.tensor("indices"), given.whole("axis", 0)
    assert given.whole("batch_dims", 0) == 0
    axis %= x.ndim
    places = torch.where(indices < 0, indices + x.shape[axis], indices)
    taken = x.index_select(axis, places.reshape(-1).long())
    return taken.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def gather_along_axis(given: Arguments) -> Tensor:
    """Take one element a place, along an axis."""
    return torch.gather(given.tensor(), given.whole("axis", 0), given.tensor("indices").long())


def pixel_shuffle(given: Arguments) -> Tensor:
    """Make squares of pixels from channels."""
    return functional.pixel_shuffle(given.tensor(), given.whole("upscale_factor"))


OPERATIONS: Final[Mapping[str, Callable[[Arguments], Tensor | tuple[Tensor, ...]]]] = {
    function.__name__: function
    for function in (
        concat, expand_dims, fill, fill_like, gather, gather_along_axis, pad, pixel_shuffle, range_1d, reshape,
        reverse, shape, slice_by_index, split, squeeze, stack, tile, transpose,
    )
}  # fmt: skip
