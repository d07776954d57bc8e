"""The operations of MIL that this project's packages consist of, in torch, by name. One function each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from torch import Tensor

from converters.coreml.arguments import Arguments
from converters.coreml.operations import compressed, elementwise, layers, reductions, shapes

Operation = Callable[[Arguments], Tensor | tuple[Tensor, ...]]

OPERATIONS: Final[Mapping[str, Operation]] = {
    **elementwise.OPERATIONS,
    **reductions.OPERATIONS,
    **shapes.OPERATIONS,
    **layers.OPERATIONS,
    **compressed.OPERATIONS,
}
