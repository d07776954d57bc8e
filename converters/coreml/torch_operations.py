"""What coremltools 9 can't translate of torch.export's graphs, or translates wrongly, in this project's modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch

from converters.coreml.library import Builder, register_torch_op, torch_translations

_ATEN: Final = torch.ops.aten

REPLACEMENTS: Final[dict[Any, Callable[..., Any]]] = {
    _ATEN.__and__.Tensor: torch.bitwise_and,
    _ATEN.alias.default: lambda value: value,
    _ATEN.new_ones.default: lambda like, size, **_: torch.full(size, 1.0, dtype=like.dtype),
    _ATEN.where.ScalarOther: lambda chosen, value, other: torch.where(
        chosen, value, torch.full((), other, dtype=value.dtype)
    ),
}
"""Operation of an exported graph -> the same in operations that coremltools knows."""


def register() -> None:
    """Teach coremltools, for this process, how the operations below are written."""
    register_torch_op(_upsample_bilinear, torch_alias=["upsample_bilinear2d.vec"], override=True)
    register_torch_op(_floor_divide, torch_alias=["floordiv"], override=True)
    register_torch_op(_reciprocal, torch_alias=["reciprocal"], override=True)


def _upsample_bilinear(context: Any, node: Any) -> None:
    """Enlarge to a size that is known in every run only; coremltools has factors alone."""
    image, size, *_ = torch_translations._get_inputs(context, node)
    if size is None:
        torch_translations.upsample_bilinear2d(context, node)
        return
    shape = Builder.concat(values=list(size), axis=0) if isinstance(size, (list, tuple)) else size
    context.add(
        Builder.resize(
            x=image,
            shape=shape,
            resized_dims=np.uint32(2),
            interpolation_mode="LINEAR",
            sampling_mode="UNALIGN_CORNERS",  # torch's align_corners=False
            name=node.name,
        )
    )


def _floor_divide(context: Any, node: Any) -> None:
    """Divide sizes. coremltools makes floats of the result, which then is no size any more."""
    size, divisor = torch_translations._get_inputs(context, node, expected=2)
    context.add(Builder.floor_div(x=size, y=divisor, name=node.name))


def _reciprocal(context: Any, node: Any) -> None:
    """Divide 1. coremltools writes MIL's `inverse`, which adds 0.0001 first: 57 dB of 90 in the layers of `context`."""
    (x,) = torch_translations._get_inputs(context, node, expected=1)
    context.add(Builder.real_div(x=np.float32(1.0), y=x, name=node.name))
