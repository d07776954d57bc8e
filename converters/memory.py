"""What a component will take of memory when it is opened and run, from shapes and formats alone; no weight is read.

The runtime turns these figures into the peak of an edit: edge_runtime/diffusion/memory.py.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch._subclasses import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from converters.arena import Arena
from converters.captured import Use
from converters.quiet import quiet
from converters.recipe import Layer, Recipe
from converters.source import ComponentSource
from converters.streaming import LayerRecord
from edge_runtime.diffusion.memory import Work

SIDES: Final = (0.5, 0.75, 1.0, 1.5)
"""Sides of the pictures that are tried, as shares of the family's default."""

_SIDE_STEP: Final = 64
_TORCH: Final = {"float32": torch.float32, "int64": torch.int64, "int32": torch.int32}
_ATTENTION: Final = (
    torch.ops.aten.scaled_dot_product_attention.default,
    torch.ops.aten._scaled_dot_product_attention_math.default,
)
_BLOCK_VALUES: Final = 32  # ONNX Runtime gives 8-bit matrices of a scale per channel one per so many values
_BYTES: Final = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5, "nf4": 0.5}
_UNPACKING_BYTES: Final = 3  # of a weight of 4 bits on its way to 8: halves, the two put together, and the next step


def sides_at(area: int) -> tuple[int, ...]:
    """Return the sides in pixels of the square results that a family with this default area is tried at."""
    return tuple(sorted({max(1, round(share * math.sqrt(area) / _SIDE_STEP)) * _SIDE_STEP for share in SIDES}))


def work(component: ComponentSource, area: int) -> list[Work]:
    """Return what a run takes for square results around an area, the smallest first.

    The module runs on tensors that have shapes and no values. The arena of ONNX Runtime is asked for room when an
    operator makes one, and gets it back when nothing refers to it any more.
    """
    assert component.working is not None
    found: dict[tuple[tuple[str, int], ...], tuple[int, int]] = {}
    rows = []
    with quiet(), FakeTensorMode(), torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        module = component.module().eval()
        for side in sides_at(area):
            sizes = component.working(side, side)
            key = tuple(sorted(sizes.items()))
            if key not in found:  # text is as long whatever the size
                found[key] = _run(module, component, sizes)
            rows.append(Work(side * side, *found[key]))
    return rows


def opened_bytes(file_bytes: int, uses: Mapping[str, Use], layers: Iterable[LayerRecord], recipe: Recipe) -> int:
    """Return what a component's weights hold in memory once ONNX Runtime 1.32 has opened it.

    Its kernels for matrices in float keep three times the scales: as they are, packed, and as sums of blocks. bfloat16
    becomes float. Tables that rows are taken of stay mapped, and hardly any of them is ever read. NF4, and 4-bit codes
    that become 8-bit ones, are unpacked in every run, one matrix at a time. Measured on 12 and 24 layers of 4096 x 4096
    with every recipe, within 2 %.
    """
    tables = {use.tensor for use in uses.values() if use.layer is Layer.EMBEDDING}
    matrices = {use.tensor for use in uses.values() if use.layer is Layer.MATMUL}
    scheme = recipe.layers.get(Layer.MATMUL)
    by_rows = scheme is not None and scheme.by_rows
    group = (scheme.weights.group_size if scheme is not None else 0) or _BLOCK_VALUES
    extra = {"bf16": 2.0, "int4": 2 * 4 / group}
    total, unpacked = float(file_bytes), 0
    for layer in layers:
        if layer.tensor in tables - matrices:
            total -= layer.values * _BYTES[layer.precision]
        elif layer.precision == "int8" and layer.tensor in matrices and not by_rows:
            total += layer.values * 3 * 4 / _BLOCK_VALUES
        elif layer.precision == "nf4":
            unpacked = max(unpacked, 4 * layer.values)
        elif layer.precision == "int4" and by_rows:
            unpacked = max(unpacked, _UNPACKING_BYTES * layer.values)
        else:
            total += layer.values * extra.get(layer.precision, 0.0)
    return max(0, round(total)) + unpacked


def _run(module: torch.nn.Module, component: ComponentSource, sizes: Mapping[str, int]) -> tuple[int, int]:
    """Return the bytes of the inputs, and those with what the arena touches."""
    inputs = [
        torch.zeros([sizes[size] if isinstance(size, str) else size for size in spec.shape], dtype=_TORCH[spec.dtype])
        for spec in component.inputs
    ]
    given = sum(tensor.nbytes for tensor in inputs)
    with _Held([*module.parameters(), *module.buffers(), *inputs]) as held:
        module(*inputs)
    return given, given + held.arena.touched_bytes


class _Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Puts what operators make into an arena; views are free, and `others` don't count."""

    def __init__(self, others: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arena = Arena()
        self._others = {tensor.untyped_storage()._cdata for tensor in others}
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _ATTENTION:  # as the graph spells it, with scores for all pairs of tokens
            with self:
                return func.decompose(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._hold(leaf.untyped_storage())
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        """Keep room for a storage until it is freed, once."""
        key, size = storage._cdata, storage.nbytes()
        if key in self._others or key in self._known or not size:
            return
        piece = self.arena.take(size)

        def free(_: object) -> None:
            self.arena.give_back(piece)
            del self._known[key]

        self._known[key] = weakref.ref(storage, free)
