"""Which operations compute in half precision, all that the Neural Engine has: from the first learned layer to the last.

Measured with the interpreter against torch. Between its layers, nano-banana loses nothing to be seen: masks at 69 dB,
restored pictures at 70, the same plans. Half precision throughout makes `restore` useless (13 dB: the guided filter
behind the network takes the difference of two squares of pixel values, up to 65025, where half precision steps by 32),
gives NaN in `context` (the same filter, and an inverse of covariances) and 36 dB in `auto`; `render` and `fill` would
keep 62 and 77 dB, but row numbers from 2048 on are no longer whole. So graphs without learned layers stay in float32,
and so does what reads pixels and what writes them elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

PARAMETER: Final = "p_"
"""What torch.export begins the names of learned tensors with. Constants of the arithmetic begin with `b_` and `c_`."""

LEARNED: Final = ("conv", "conv_transpose", "linear", "gather", "matmul", "layer_norm")


class BetweenLearnedLayers:
    """Tells coremltools which operations of a float32 program to cast: those on a way from one layer to another."""

    def __init__(self) -> None:
        self._chosen: set[str] | None = None

    def __call__(self, operation: Any) -> bool:
        """Return whether the operation computes in half precision. The first call must see the program as it was."""
        if self._chosen is None:
            self._chosen = between_learned(operation.enclosing_block.operations)
        return operation.name in self._chosen


def between_learned(operations: Iterable[Any]) -> set[str]:
    """Return the names of operations that are a learned layer, or have one before them and one behind them."""
    ordered = list(operations)
    learned = {each.name for each in ordered if is_learned(each)}
    after, before = set(learned), set(learned)
    for each in ordered:
        if any(source.name in after for source in _sources(each)):
            after.add(each.name)
    for each in reversed(ordered):
        if each.name in before:
            before.update(source.name for source in _sources(each))
    return after & before


def is_learned(operation: Any) -> bool:
    """Return whether an operation of a MIL program reads a learned tensor."""
    return operation.op_type in LEARNED and any(
        source.op_type == "const" and source.name.startswith(PARAMETER) for source in _sources(operation)
    )


def _sources(operation: Any) -> list[Any]:
    """Return the operations whose results an operation reads."""
    given = [value if isinstance(value, (list, tuple)) else [value] for value in operation.inputs.values()]
    return [value.op for values in given for value in values if value is not None and value.op is not None]
