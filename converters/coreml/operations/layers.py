"""Operations with weights, normalisations, pooling, changes of size. Pictures are (batch, channels, height, width)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from converters.coreml.arguments import Arguments

Operation = Callable[[Arguments], Tensor]
_CONVOLVE: Final = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED: Final = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def conv(given: Arguments) -> Tensor:
    """Convolve (batch, channels, ...) with weight (outputs, channels / groups, ...)."""
    x, weight = given.tensor(), given.tensor("weight")
    rank = weight.ndim - 2
    strides, dilations = (given.wholes(name, (1,) * rank) for name in ("strides", "dilations"))
    x = functional.pad(x, _padding(given, rank, weight.shape[2:], dilations))
    result: Tensor = _CONVOLVE[rank](
        x, weight, given.optional("bias"), strides, 0, dilations, given.whole("groups", 1)
    )
    return result


def conv_transpose(given: Arguments) -> Tensor:
    """Convolve the other way, weight (channels, outputs / groups, ...); the result is cut by the padding."""
    x, weight = given.tensor(), given.tensor("weight")
    rank = weight.ndim - 2
    strides, dilations = (given.wholes(name, (1,) * rank) for name in ("strides", "dilations"))
    result: Tensor = _TRANSPOSED[rank](
        x, weight, given.optional("bias"), strides, 0, 0, given.whole("groups", 1), dilations
    )
    cut = _padding(given, rank, weight.shape[2:], dilations)
    return functional.pad(result, [-number for number in cut])


def _padding(given: Arguments, rank: int, kernel: tuple[int, ...], dilations: list[int]) -> list[int]:
    """Return what torch's pad takes: pairs, the last axis first."""
    kind = given.text("pad_type", "valid")
    if kind == "same":  # only with stride 1 here, where it doesn't depend on the size
        assert given.wholes("strides", (1,) * rank) == [1] * rank
        wide = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)]
        pairs = [(each // 2, each - each // 2) for each in wide]
    else:
        amounts = given.wholes("pad", (0,) * (2 * rank)) if kind == "custom" else [0] * (2 * rank)
        pairs = [(amounts[i], amounts[i + 1]) for i in range(0, 2 * rank, 2)]
    return [number for pair in reversed(pairs) for number in pair]


def linear(given: Arguments) -> Tensor:
    """Multiply (..., inputs) by weight (outputs, inputs)."""
    return functional.linear(given.tensor(), given.tensor("weight"), given.optional("bias"))


def matmul(given: Arguments) -> Tensor:
    """Multiply the last two axes."""
    x, y = given.tensor("x"), given.tensor("y")
    x = x.transpose(-1, -2) if given.flag("transpose_x") else x
    y = y.transpose(-1, -2) if given.flag("transpose_y") else y
    return torch.matmul(x, y)


def attention(given: Arguments) -> Tensor:
    """Attend, scaled by the root of the width; a mask of numbers is added, one of truth values chooses."""
    query, key, value = (given.tensor(name) for name in ("query", "key", "value"))
    return functional.scaled_dot_product_attention(query, key, value, given.optional("attn_mask"))


def layer_norm(given: Arguments) -> Tensor:
    """Normalise over axes, which are the last ones here."""
    x, axes = given.tensor(), given.wholes("axes")
    last = sorted(axis % x.ndim for axis in axes)
    assert last == list(range(x.ndim - len(last), x.ndim))
    shape = [x.shape[axis] for axis in last]
    return functional.layer_norm(
        x, shape, given.optional("gamma"), given.optional("beta"), given.number("epsilon", 1e-5)
    )


def instance_norm(given: Arguments) -> Tensor:
    """Normalise every channel of every picture."""
    return functional.instance_norm(
        given.tensor(), None, None, given.optional("gamma"), given.optional("beta"), eps=given.number("epsilon", 1e-5)
    )


def batch_norm(given: Arguments) -> Tensor:
    """Normalise by stored statistics."""
    return functional.batch_norm(
        given.tensor(), given.tensor("mean"), given.tensor("variance"), given.optional("gamma"),
        given.optional("beta"), eps=given.number("epsilon", 1e-5),
    )  # fmt: skip


def max_pool(given: Arguments) -> Tensor:
    """Take the largest of each window; what is padded never is."""
    return functional.max_pool2d(_pooled(given, -torch.inf), given.wholes("kernel_sizes"), _steps(given))


def avg_pool(given: Arguments) -> Tensor:
    """Take the mean of each window, padding included."""
    assert not given.flag("exclude_padding_from_average")
    return functional.avg_pool2d(_pooled(given, 0.0), given.wholes("kernel_sizes"), _steps(given))


def _steps(given: Arguments) -> list[int]:
    return given.wholes("strides", (1, 1))


def _pooled(given: Arguments, value: float) -> Tensor:
    assert not given.flag("ceil_mode")
    kernel = tuple(given.wholes("kernel_sizes"))
    return functional.pad(given.tensor(), _padding(given, len(kernel), kernel, [1] * len(kernel)), value=value)


def upsample_bilinear(given: Arguments) -> Tensor:
    """Enlarge by factors."""
    return functional.interpolate(
        given.tensor(), scale_factor=_factors(given), mode="bilinear", align_corners=given.flag("align_corners", True)
    )


def upsample_nearest_neighbor(given: Arguments) -> Tensor:
    """Enlarge by factors, by repeating."""
    return functional.interpolate(given.tensor(), scale_factor=_factors(given), mode="nearest")


def _factors(given: Arguments) -> list[float]:
    return [given.number("scale_factor_height", 1.0), given.number("scale_factor_width", 1.0)]


def resize(given: Arguments) -> Tensor:
    """Enlarge or reduce the last two axes to a size that may be computed; the emitted way of sampling alone."""
    assert given.whole("resized_dims") == 2 and given.text("interpolation_mode", "LINEAR") == "LINEAR"
    assert given.text("sampling_mode", "DEFAULT") == "UNALIGN_CORNERS"
    x, size = given.tensor(), given.wholes("shape")[-2:]
    size = [wanted or kept for wanted, kept in zip(size, x.shape[-2:], strict=True)]
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


OPERATIONS: Final[Mapping[str, Operation]] = {
    "avg_pool": avg_pool,
    "batch_norm": batch_norm,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "linear": linear,
    "matmul": matmul,
    "max_pool": max_pool,
    "resize": resize,
    "scaled_dot_product_attention": attention,
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}
