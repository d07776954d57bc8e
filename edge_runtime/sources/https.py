"""A folder behind https://, as any web server gives it out: the address of the folder, or of its manifest.json."""

from __future__ import annotations

from collections.abc import Generator

from edge_runtime.canonical_json import MAX_JSON_BYTES
from edge_runtime.errors import SourceError
from edge_runtime.manifest import MANIFEST_FILE, Component, DataFile
from edge_runtime.minisign import MAX_SIGNATURE_BYTES, SUFFIX
from edge_runtime.source import SourceOptions
from edge_runtime.transfer import Transfer


class Https:
    """`address` is that of the folder; a query isn't kept, as it would have to be another one for each file."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        self._base = address.partition("?")[0].removesuffix(MANIFEST_FILE).rstrip("/")
        self._transfer = Transfer(plain_http=options.plain_http)

    def manifest(self) -> bytes:
        """See `Source`."""
        found = self._transfer.read(f"{self._base}/{MANIFEST_FILE}", MAX_JSON_BYTES)
        if found is None:
            hint = "give the address of the folder that holds it"
            raise SourceError(f"there is no {MANIFEST_FILE} at this address", got=self._base, hint=hint)
        return found

    def signature(self) -> bytes | None:
        """See `Source`."""
        return self._transfer.read(f"{self._base}/{MANIFEST_FILE}{SUFFIX}", MAX_SIGNATURE_BYTES)

    def read(self, part: Component | DataFile, offset: int) -> Generator[bytes, None, None]:
        """See `Source`."""
        return self._transfer.stream(f"{self._base}/{part.file}", offset)

    def close(self) -> None:
        """See `Source`."""
        self._transfer.close()


SOURCE = Https
