"""What one operation of a MIL program is given, by the names that coremltools' documentation uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Arguments:
    """Values of one operation's inputs: tensors, tuples of tensors, strings, or None where one was left out.

    Numbers in half precision come as float32 that half precision can hold. Integers are int32 or smaller.
    """

    def __init__(self, values: Mapping[str, Any], output_dtypes: tuple[str, ...]) -> None:
        self._values = values
        self.output_dtypes = output_dtypes

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def tensor(self, name: str = "x") -> Tensor:
        """Return a tensor that must be there."""
        value = self._values[name]
        assert isinstance(value, Tensor), name
        return value

    def optional(self, name: str) -> Tensor | None:
        """Return a tensor, or None where it was left out."""
        return self.tensor(name) if name in self else None

    def tensors(self, name: str = "values") -> tuple[Tensor, ...]:
        """Return a tuple of tensors."""
        return tuple(self._values[name])

    def wholes(self, name: str, default: tuple[int, ...] | None = None) -> list[int]:
        """Return a list of whole numbers, of a constant or of what was computed."""
        if name not in self and default is not None:
            return list(default)
        return [int(value) for value in self.tensor(name).reshape(-1).tolist()]

    def whole(self, name: str, default: int | None = None) -> int:
        """Return one whole number."""
        if name not in self and default is not None:
            return default
        return int(self.tensor(name).item())

    def number(self, name: str, default: float | None = None) -> float:
        """Return one number."""
        if name not in self and default is not None:
            return default
        return float(self.tensor(name).item())

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a truth value."""
        return bool(self.tensor(name).item()) if name in self else default

    def flags(self, name: str, count: int) -> list[bool]:
        """Return `count` truth values, all false where they were left out."""
        return [bool(value) for value in self.tensor(name).tolist()] if name in self else [False] * count

    def text(self, name: str, default: str = "") -> str:
        """Return a string."""
        return str(self._values[name]) if name in self else default


def to_value(constant: Any) -> Any:
    """Return a constant of a program as operations get it: a tensor, a tuple, or a string as it is."""
    if isinstance(constant, str):
        return constant
    if isinstance(constant, (list, tuple)):
        return tuple(to_value(each) for each in constant)
    array = np.asarray(constant)
    if array.dtype in (np.float16, np.float64):
        array = array.astype(np.float32)
    elif array.dtype.kind in "iu" and array.dtype not in (np.int8, np.uint8):
        array = array.astype(np.int32)
    return torch.from_numpy(np.array(array))  # a copy: the program's own may be read-only
