"""A folder on this machine, as `nanoedge convert` writes it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Final

from edge_runtime.artifact import locate
from edge_runtime.canonical_json import MAX_JSON_BYTES
from edge_runtime.errors import SourceError
from edge_runtime.manifest import MANIFEST_FILE, Component, DataFile
from edge_runtime.minisign import MAX_SIGNATURE_BYTES, SUFFIX
from edge_runtime.source import SourceOptions

_CHUNK_BYTES: Final = 1 << 20


class Folder:
    """`address` is the folder's path."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        self._folder = Path(address)
        if not (self._folder / MANIFEST_FILE).is_file():
            raise SourceError(
                "there is no artifact in this folder", got=address,
                allowed="a folder with manifest.json, https://..., s3://..., oci://...",
            )

    def manifest(self) -> bytes:
        """See `Source`."""
        return self._start(MANIFEST_FILE, MAX_JSON_BYTES + 1)

    def signature(self) -> bytes | None:
        """See `Source`."""
        name = f"{MANIFEST_FILE}{SUFFIX}"
        return self._start(name, MAX_SIGNATURE_BYTES) if (self._folder / name).exists() else None

    def read(self, part: Component | DataFile, offset: int) -> Generator[bytes, None, None]:
        """See `Source`."""
        try:
            with locate(self._folder, part.file).open("rb") as file:
                file.seek(offset)
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise SourceError(f"the file {part.file} can't be read", got=error) from error

    def close(self) -> None:
        """See `Source`."""

    def _start(self, name: str, size_bytes: int) -> bytes:
        try:
            with locate(self._folder, name).open("rb") as file:
                return file.read(size_bytes)
        except OSError as error:
            raise SourceError(f"the file {name} can't be read", got=error) from error


SOURCE = Folder
