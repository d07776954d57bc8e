"""Operations that take many elements together along axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from converters.coreml.arguments import Arguments
from converters.coreml.operations.elementwise import Operation


def _reduced(function: Callable[..., Tensor]) -> Operation:
    """Return an operation over `axes`, all where none are given, that may keep them with size 1."""

    def reduce(given: Arguments) -> Tensor:
        x = given.tensor()
        axes = given.wholes("axes", tuple(range(x.ndim)))
        return function(x, dim=axes, keepdim=given.flag("keep_dims"))

    return reduce


def cumsum(given: Arguments) -> Tensor:
    """Add up along an axis; neither reversed nor exclusive sums are emitted."""
    assert not given.flag("exclusive") and not given.flag("reverse")
    return torch.cumsum(given.tensor(), given.whole("axis", 0)).to(given.tensor().dtype)


def softmax(given: Arguments) -> Tensor:
    """Return shares along an axis."""
    return torch.softmax(given.tensor(), given.whole("axis", -1))


OPERATIONS: Final[Mapping[str, Operation]] = {
    "cumsum": cumsum,
    "reduce_log_sum_exp": _reduced(torch.logsumexp),
    "reduce_max": _reduced(torch.amax),
    "reduce_mean": _reduced(torch.mean),
    "reduce_min": _reduced(torch.amin),
    "reduce_sum": _reduced(torch.sum),
    "softmax": softmax,
}
