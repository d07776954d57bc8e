"""The file beside a large graph that holds its tensors, one after another; ONNX calls this external data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

ALIGNMENT_BYTES: Final = 64
"""Where tensors may begin: vectors of any processor. A whole page for large ones, so that they can be mapped alone."""

_PAGE_BYTES: Final = 4096
_LARGE_BYTES: Final = 1 << 16


class DataFile:
    """Writes tensors to a file that exists from the start; the digest grows with it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb")
        self._digest = hashlib.sha256()
        self._end = 0

    def add(self, name: str, array: NDArray[Any], dtype: ir.DataType, shape: tuple[int, ...]) -> ir.ExternalTensor:
        """Append an array's bytes and return the tensor that refers to them; 4-bit codes come packed."""
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        alignment = _PAGE_BYTES if len(raw) >= _LARGE_BYTES else ALIGNMENT_BYTES
        self._append(bytes(-self._end % alignment))
        offset = self._end
        self._append(raw)
        return ir.ExternalTensor(
            location=self._path.name,
            offset=offset,
            length=len(raw),
            dtype=dtype,
            shape=ir.Shape(shape),
            name=name,
            base_dir=self._path.parent,
        )

    @property
    def sha256(self) -> str:
        """The digest of all bytes so far, in hexadecimal."""
        return self._digest.hexdigest()

    def _append(self, raw: bytes | memoryview) -> None:
        self._file.write(raw)
        self._digest.update(raw)
        self._end += len(raw)

    def __enter__(self) -> DataFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error is not None:
            self._path.unlink()
