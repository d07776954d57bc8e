"""One safetensors file, read tensor by tensor through a memory map that lasts for one read.

Nothing of a file but its header stays in memory. Format: https://github.com/huggingface/safetensors, README, Format.
Which files make up a component is the business of converters/shards.py.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import ConversionError

LARGEST_HEADER_BYTES: Final = 100_000_000
"""The format's own limit."""

DOWNLOAD_AGAIN: Final = "download it again; an interrupted download often looks like this"

_FLOATS: Final[Mapping[str, Any]] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16),
}  # fmt: skip
_WHOLE: Final[Mapping[str, Any]] = {
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
}  # fmt: skip
_DTYPES: Final = {**_FLOATS, **_WHOLE}
_PIECE_VALUES: Final = 1 << 18
"""Values that are converted and checked while they are in the processor's cache."""

_SAMPLES: Final = 64
_SAMPLE_BYTES: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies: `start` counts from the file's beginning, `dtype` is safetensors' name for it."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TensorFile:
    """A file whose header was read and checked; `metadata` is its free text."""

    path: Path
    size_bytes: int
    header: bytes = field(repr=False)
    tensors: Mapping[str, StoredTensor] = field(repr=False)
    metadata: Mapping[str, str] = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> TensorFile:
        """Read the header; raises ConversionError when the file is missing, truncated, damaged or of other dtypes."""
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                length = int.from_bytes(file.read(8), "little")
                if size < 8 or not 2 <= length <= LARGEST_HEADER_BYTES:
                    raise _damaged(path, f"{size} bytes that don't begin with the length of a header")
                header = file.read(length)
        except OSError as error:
            raise ConversionError(f"the weights {path.name} can't be read", got=error) from error
        if len(header) < length:
            raise _truncated(path, size, 8 + length)
        entries = _parse(path, header)
        metadata = entries.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise _damaged(path, "metadata that is no map of text")
        tensors = {name: _tensor(path, name, entry, 8 + length) for name, entry in entries.items()}
        tensors = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].size_bytes)))
        _check_layout(path, tensors.values(), 8 + length, size)
        return cls(path=path, size_bytes=size, header=header, tensors=tensors, metadata=metadata)

    def read(self, name: str, rows: tuple[int, int] | None = None) -> NDArray[Any]:
        """Return a tensor, or some rows of it, that the caller owns: float32, or its own dtype for integers, booleans.

        Raises ConversionError when it holds NaN or infinity (or float64 beyond float32), or the file has changed.
        """
        tensor = self.tensors[name]
        stored = _DTYPES[tensor.dtype]
        shape, start, size = _part(tensor, rows)
        array = np.empty(shape, np.float32 if tensor.dtype in _FLOATS else stored)
        if size:
            first = start - start % mmap.ALLOCATIONGRANULARITY
            length = start - first + size
            try:
                with self.path.open("rb") as file:
                    mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=first)
            except (OSError, ValueError) as error:
                raise ConversionError(
                    f"the weights {self.path.name} changed while they were read", got=error, hint="start again"
                ) from error
            with mapped:
                finite = _convert(mapped, start - first, stored, array.reshape(-1))
            if not finite:
                raise ConversionError(
                    f"tensor {name} of {self.path.name} holds NaN or infinity", hint="train or download it again"
                )
        return array.astype(np.bool_) if tensor.dtype == "BOOL" else array

    def identify(self, digest: Any) -> None:
        """Feed a hashlib object with name, size, header and 1 MiB of the file, in 64 pieces spread evenly."""
        digest.update(json.dumps([self.path.name, self.size_bytes, len(self.header)]).encode())
        digest.update(self.header)
        last = max(0, self.size_bytes - _SAMPLE_BYTES)
        with self.path.open("rb", buffering=0) as file:
            for place in sorted({last * step // (_SAMPLES - 1) for step in range(_SAMPLES)}):
                file.seek(place)
                digest.update(file.read(_SAMPLE_BYTES))


def identity(files: Iterable[TensorFile]) -> str:
    """Return a SHA-256 in hexadecimal that identifies files without reading them whole; see `TensorFile.identify`.

    The same files give the same digest in any folder. It is meant for provenance and for going on after a stop, not
    against forgery: a change of a few values between the samples stays unseen.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.path.name):
        try:
            file.identify(digest)
        except OSError as error:
            raise ConversionError(f"the weights {file.path.name} can't be read", got=error) from error
    return digest.hexdigest()


def _part(tensor: StoredTensor, rows: tuple[int, int] | None) -> tuple[tuple[int, ...], int, int]:
    """Return the shape of some rows, where they begin, and their bytes."""
    if rows is None:
        return tensor.shape, tensor.start, tensor.size_bytes
    first, last = max(0, rows[0]), min(rows[1], tensor.shape[0])
    row_bytes = tensor.size_bytes // max(1, tensor.shape[0])
    return (last - first, *tensor.shape[1:]), tensor.start + first * row_bytes, (last - first) * row_bytes


def _convert(mapped: mmap.mmap, offset: int, dtype: Any, target: NDArray[Any]) -> bool:
    """Fill the target, flat, from the map; return whether all values are finite."""
    source = np.frombuffer(mapped, dtype, target.size, offset)
    floating = target.dtype.kind == "f"
    with np.errstate(all="ignore"):
        for start in range(0, target.size, _PIECE_VALUES):
            piece = target[start : start + _PIECE_VALUES]
            piece[...] = source[start : start + _PIECE_VALUES]
            if floating and not np.isfinite(piece).all():
                return False
    return True


def _parse(path: Path, header: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a name stands there twice")
        return found

    try:
        entries = json.loads(header, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(entries, dict):
        raise _damaged(path, type(entries).__name__)
    return entries


def _tensor(path: Path, name: str, entry: Any, data_start: int) -> StoredTensor:
    try:
        dtype, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise _damaged(path, f"{name}: {entry}") from error
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ConversionError(
            f"tensor {name} of {path.name} is of a dtype that is not read",
            got=dtype,
            allowed=", ".join(_DTYPES),
            hint="take the bf16, fp16 or fp32 weights: codes of 8 bits and fewer need the scales of whoever made them",
        )
    if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
        raise _damaged(path, f"{name}: {entry}")
    size = math.prod(shape) * _DTYPES[dtype].itemsize
    if stop - start != size:
        raise _damaged(path, f"{name}: {stop - start} bytes for {dtype} {shape}")
    return StoredTensor(dtype=dtype, shape=shape, start=data_start + start, size_bytes=size)


def _check_layout(path: Path, tensors: Iterable[StoredTensor], data_start: int, size: int) -> None:
    """Tensors must follow one another without gaps up to the end of the file."""
    end = data_start
    for tensor in tensors:
        if tensor.start != end:
            raise _damaged(path, "tensors that overlap or leave gaps")
        end += tensor.size_bytes
    if size < end:
        raise _truncated(path, size, end)
    if size > end:
        raise _damaged(path, f"{size - end} bytes behind the last tensor")


def _damaged(path: Path, got: object) -> ConversionError:
    return ConversionError(f"the file {path.name} is no safetensors file, or damaged", got=got, hint=DOWNLOAD_AGAIN)


def _truncated(path: Path, size: int, wanted: int) -> ConversionError:
    return ConversionError(
        f"the file {path.name} is truncated",
        got=f"{size} bytes",
        allowed=f"at least {wanted} bytes",
        hint=DOWNLOAD_AGAIN,
    )
