"""torch operations that litert-torch 0.10 has no lowering for, or a costly one, in terms of others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from litert_torch.fx_infra import decomp
from torch import Tensor


def _power_of_two(power: Tensor) -> Tensor:
    return torch.exp(power * math.log(2.0))


def _ones_like(values: Tensor, **_: object) -> Tensor:
    """Computed, as a constant would be stored for every pixel, and so would a product with 0 plus 1."""
    return values.clamp(1.0, 1.0)


def _selected(values: Tensor, dim: int, index: Tensor) -> Tensor:
    """Rows of a table, for which TFLite has a kernel; litert-torch 0.10 makes a slow GATHER_ND with checks."""
    turned = values.movedim(dim, 0)
    table = turned.reshape(turned.shape[0], -1)
    found = torch.embedding(table, index.to(torch.int32)).reshape(len(index), *turned.shape[1:])
    return found.movedim(0, dim)


def _identity(count: int, *, dtype: torch.dtype | None = None, **_: object) -> Tensor:
    """Written out: torch counts and compares for it, and a computed range is none of TFLite's operations."""
    rows = [[torch.full((1,), float(row == column), dtype=dtype) for column in range(count)] for row in range(count)]
    return torch.stack([torch.cat(row) for row in rows])


DECOMPOSITIONS: Final[Mapping[Any, Callable[..., Tensor]]] = {
    torch.ops.aten.exp2.default: _power_of_two,
    torch.ops.aten.ones_like.default: _ones_like,
    torch.ops.aten.index_select.default: _selected,
    torch.ops.aten.eye.default: _identity,
}
"""Operation -> what is traced in its place."""


@contextmanager
def spelled_out() -> Iterator[None]:
    """Let litert-torch take DECOMPOSITIONS while the block runs."""
    for operation, spelled in DECOMPOSITIONS.items():
        decomp.add_pre_convert_decomp(operation, spelled)
    try:
        yield
    finally:
        for operation in DECOMPOSITIONS:
            decomp.remove_pre_lower_decomp(operation)
