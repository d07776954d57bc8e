"""What a graph takes and gives: names, dtypes and shapes. Nothing here runs a graph."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from edge_runtime.canonical_json import members
from edge_runtime.errors import ArtifactError, EngineError

Tensor: TypeAlias = NDArray[Any]
DType: TypeAlias = Literal["uint8", "int8", "int32", "int64", "float16", "float32", "bool"]

DTYPES: Final[tuple[str, ...]] = get_args(DType)
MAX_RANK: Final = 8
MAX_DIMENSION: Final = 2**31 - 1
_NAME: Final = re.compile(r"[A-Za-z0-9_./:-]{1,128}")
_SYMBOL: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a graph.

    `shape` holds sizes (1 to 2^31-1) and symbols such as `"height"`; a symbol stands for one size (0 included) that
    is the same wherever the component uses it. Raises ArtifactError for a description that is not usable.
    """

    name: str
    dtype: DType
    shape: tuple[int | str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ArtifactError("a tensor's name is not usable", got=ascii(self.name), allowed=_NAME.pattern)
        if self.dtype not in DTYPES:
            raise ArtifactError(
                f"tensor {self.name} has an unknown dtype", got=ascii(self.dtype), allowed=", ".join(DTYPES)
            )
        if not isinstance(self.shape, tuple) or len(self.shape) > MAX_RANK or not all(map(_is_size, self.shape)):
            raise ArtifactError(
                f"tensor {self.name} has a shape that is not usable",
                got=ascii(self.shape),
                allowed=f"at most {MAX_RANK} sizes from 1 to {MAX_DIMENSION} or symbols like 'height'",
            )

    def __str__(self) -> str:
        return _spelled(self.dtype, self.shape)

    def check(self, array: object) -> None:
        """Raise EngineError, naming both dtypes and shapes, unless `array` is a NumPy array that fits."""
        if not isinstance(array, np.ndarray):
            raise EngineError(f"tensor {self.name} must be a NumPy array", got=type(array).__name__, allowed=self)
        fits = array.ndim == len(self.shape) and all(
            isinstance(size, str) or size == actual for size, actual in zip(self.shape, array.shape, strict=True)
        )
        if array.dtype != np.dtype(self.dtype) or not fits:
            raise EngineError(
                f"tensor {self.name} has the wrong dtype or shape",
                got=_spelled(array.dtype, array.shape),
                allowed=self,
            )

    def to_json(self) -> dict[str, Any]:
        """Return `{"name": "photo", "dtype": "uint8", "shape": [1, "height", "width", 3]}`."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, data: object, where: str = "tensor") -> TensorSpec:
        """Read what `to_json` writes; raises ArtifactError that says where the fault is."""
        entry = members(data, {"name": str, "dtype": str, "shape": list}, where)
        return cls(name=entry["name"], dtype=entry["dtype"], shape=tuple(entry["shape"]))


def check_inputs(
    specs: Sequence[TensorSpec], tensors: Mapping[str, Tensor], sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Check all tensors of one run and return the size of every symbol.

    `sizes` are symbols whose size is known already: to check outputs, pass what the check of the inputs returned.
    Raises EngineError for a tensor that is missing, unknown or does not fit, or for a symbol with two sizes.
    """
    if {spec.name for spec in specs} != set(tensors):
        raise EngineError(
            "these are not the component's tensors",
            got=", ".join(sorted(tensors)) or "none",
            allowed=", ".join(f"{spec.name}: {spec}" for spec in specs) or "none",
        )
    bound = dict(sizes or {})
    for spec in specs:
        spec.check(tensors[spec.name])
        for symbol, size in zip(spec.shape, tensors[spec.name].shape, strict=True):
            if isinstance(symbol, str) and bound.setdefault(symbol, size) != size:
                raise EngineError(
                    f"tensor {spec.name} disagrees about the size '{symbol}'",
                    got=f"{_spelled(spec.dtype, tensors[spec.name].shape)} for {spec}",
                    allowed=f"{symbol} = {bound[symbol]}, as in the tensors before it",
                )
    return bound


def _is_size(size: object) -> bool:
    if isinstance(size, str):
        return _SYMBOL.fullmatch(size) is not None
    return type(size) is int and 1 <= size <= MAX_DIMENSION


def _spelled(dtype: object, shape: Sequence[int | str]) -> str:
    return f"{dtype} ({', '.join(map(str, shape))})"
