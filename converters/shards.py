"""The weights of one component of a checkpoint in diffusers layout, and views of them under other names.

A component is a folder with one safetensors file, or with several and an index. How a file is read stands in
converters/tensor_file.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from converters.tensor_file import DOWNLOAD_AGAIN, StoredTensor, TensorFile, identity
from edge_runtime.errors import ConversionError

if TYPE_CHECKING:
    from converters.source import Rows, Weights  # imports torch, which reading does without

NAMES: Final = ("diffusion_pytorch_model", "model")
"""What diffusers and transformers call a component's weights."""

VARIANTS: Final = ("", "fp32", "bf16", "fp16")
"""Variants (`model.fp16.safetensors`) in the order of preference; others come last, by name."""

_SHARD: Final = re.compile(r"-\d{5}-of-\d{5}")
_WEIGHTS: Final = re.compile(r"(?P<base>[^.]+)(\.(?P<variant>[^.]+))?\.safetensors")
_INDEX: Final = re.compile(
    r"(?P<base>[^.]+)(\.(?P<variant>[^.]+))?\.safetensors\.index(\.(?P<late_variant>[^.]+))?\.json"
)
_FEW: Final = 4


class Shards:
    """The tensors of a component, read one at a time; implements `Weights`."""

    def __init__(self, files: Iterable[TensorFile]) -> None:
        """Raises ConversionError when two files hold a tensor of the same name."""
        self._files = tuple(sorted(files, key=lambda file: file.path.name))
        self._places: dict[str, TensorFile] = {}
        for file in self._files:
            for name in file.tensors:
                if name in self._places:
                    raise ConversionError(
                        f"tensor {name} stands in two files",
                        got=f"{self._places[name].path.name}, {file.path.name}",
                        hint=DOWNLOAD_AGAIN,
                    )
                self._places[name] = file

    @property
    def files(self) -> tuple[Path, ...]:
        """The safetensors files, by name."""
        return tuple(file.path for file in self._files)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the files."""
        return tuple(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape; raises ConversionError for an unknown name."""
        return self._stored(name).shape

    def dtype(self, name: str) -> str:
        """Return how a tensor is stored, such as "BF16"; raises ConversionError for an unknown name."""
        return self._stored(name).dtype

    def parameters(self, name: str) -> int:
        """Return how many values a tensor has; raises ConversionError for an unknown name."""
        return math.prod(self._stored(name).shape)

    def stored_bytes(self, name: str) -> int:
        """Return how many bytes a tensor takes on disk; raises ConversionError for an unknown name."""
        return self._stored(name).size_bytes

    def read(self, name: str) -> NDArray[Any]:
        """Return a tensor that the caller owns: float32, or its own dtype for integers and booleans.

        Raises ConversionError for an unknown name, for NaN or infinity, and when the file has changed.
        """
        self._stored(name)
        return self._places[name].read(name)

    def rows(self, name: str) -> Rows:
        """Return a reader of a tensor's rows; see `Weights.rows`."""
        self._stored(name)
        file = self._places[name]
        return lambda start, stop: file.read(name, (start, stop))

    def digest(self) -> str:
        """Return a SHA-256 in hexadecimal over names, sizes, headers and 1 MiB of every file, spread evenly.

        It identifies a checkpoint of any size in milliseconds; it is no proof against a forger.
        """
        return identity(self._files)

    def _stored(self, name: str) -> StoredTensor:
        if name not in self._places:
            raise unknown_tensor(name, self._places)
        return self._places[name].tensors[name]


def open_shards(folder: Path) -> Shards:
    """Read the headers of a component's weights.

    The plain file or index is taken, else a variant in the order of VARIANTS. Raises ConversionError when there are
    none, or a shard is missing, truncated, damaged or not as the index says.
    """
    found = by_preference(entry.name for entry in folder.glob("*"))
    if not found:
        raise _nothing(folder)
    if len(found) > 1 and _preference(found[0])[0]:
        raise ConversionError(
            f"it is not clear which weights of {folder.name} to take",
            got=", ".join(found),
            allowed=", ".join(f"{name}.safetensors" for name in NAMES),
        )
    path = folder / found[0]
    return Shards([TensorFile.open(path)]) if path.suffix == ".safetensors" else _indexed(path)


def by_preference(files: Iterable[str]) -> list[str]:
    """Return the names that are whole weights (one file, or an index), the best first."""
    return sorted(filter(_is_weights, files), key=lambda name: (_preference(name), name))


def renamed(weights: Weights, rename: Callable[[str], str | None]) -> Weights:
    """Return a view whose tensors have the names that `rename` returns; it drops those where that is None.

    Raises ConversionError when two tensors get the same name.
    """
    originals: dict[str, str] = {}
    for original in weights.names:
        name = rename(original)
        if name is None:
            continue
        if name in originals:
            raise ConversionError(f"two tensors would be named {name}", got=f"{originals[name]}, {original}")
        originals[name] = original
    return _Renamed(weights, originals)


def under(weights: Weights, prefix: str) -> Weights:
    """Return a view of the tensors whose names begin with the prefix, which is cut off."""
    return renamed(weights, lambda name: name.removeprefix(prefix) if name.startswith(prefix) else None)


def unknown_tensor(name: str, known: Iterable[str]) -> ConversionError:
    """Return the error for a tensor that is not there, with the known names that are most like it."""
    last = name.rsplit(".", 1)[0].rsplit(".", 1)[-1]
    names = list(known)
    like = [other for other in names if last in other] or names
    more = " ..." if len(like) > _FEW else ""
    return ConversionError(
        f"the checkpoint has no tensor {name}", allowed=(", ".join(like[:_FEW]) or "nothing: it is empty") + more
    )


class _Renamed:
    def __init__(self, weights: Weights, originals: Mapping[str, str]) -> None:
        self._weights, self._originals = weights, originals

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._originals)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._weights.shape(self._original(name))

    def read(self, name: str) -> NDArray[Any]:
        return self._weights.read(self._original(name))

    def rows(self, name: str) -> Rows:
        return self._weights.rows(self._original(name))

    def _original(self, name: str) -> str:
        if name not in self._originals:
            raise unknown_tensor(name, self._originals)
        return self._originals[name]


def _is_weights(name: str) -> bool:
    return bool(_INDEX.fullmatch(name) or (_WEIGHTS.fullmatch(name) and not _SHARD.search(name)))


def _preference(name: str) -> tuple[bool, int, bool]:
    """Return a key that sorts the best file first: known name, variant, one file before several."""
    match = _INDEX.fullmatch(name) or _WEIGHTS.fullmatch(name)
    assert match is not None
    groups = match.groupdict()
    variant = groups["variant"] or groups.get("late_variant") or ""
    rank = VARIANTS.index(variant) if variant in VARIANTS else len(VARIANTS)
    return groups["base"] not in NAMES, rank, name.endswith(".json")


def _indexed(path: Path) -> Shards:
    """Open the shards that an index names, and check that every tensor stands where it says."""
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(weight_map.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConversionError(f"the index {path.name} can't be read", got=error, hint=DOWNLOAD_AGAIN) from error
    if odd := [name for name in files if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+\.safetensors", name)]:
        raise ConversionError(
            f"the index {path.name} names a file that is none of its own", got=odd[0], allowed="NAME.safetensors"
        )
    if missing := [name for name in files if not (path.parent / name).is_file()]:
        raise ConversionError(
            f"shards are missing in {path.parent.name}",
            got=f"{len(missing)} of {len(files)}: {', '.join(missing)}",
            hint="download them into the same folder",
        )
    shards = {name: TensorFile.open(path.parent / name) for name in files}
    if absent := [name for name, file in weight_map.items() if name not in shards[file].tensors]:
        raise ConversionError(
            f"the shard {weight_map[absent[0]]} lacks tensors that {path.name} lists",
            got=f"{len(absent)}: {', '.join(absent[:_FEW])}",
            hint="the index and the shards are of different versions; download both again",
        )
    return Shards(shards.values())


def _nothing(folder: Path) -> ConversionError:
    names = sorted(entry.name for entry in folder.glob("*"))
    if any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in names):
        hint = "pickled weights can run code, so they are not read; save the model as safetensors"
    elif any(_SHARD.search(name) for name in names):
        hint = "the shards lack their index, NAME.safetensors.index.json; download it too"
    else:
        hint = "download the component's weights too"
    return ConversionError(
        f"the folder {folder.name} has no safetensors weights",
        got=", ".join(names) or "no files",
        allowed="*.safetensors",
        hint=hint,
    )
