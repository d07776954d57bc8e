"""The seam between the model store and where models come from. Each kind of source is a file in `sources`.

A source gives bytes and nothing else: what they must be is decided by who asks (`store/pull.py`).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, Protocol

from edge_runtime import plugins
from edge_runtime.errors import SourceError
from edge_runtime.manifest import Component, DataFile

SOURCES: Final = "sources"
_FOLDER: Final = "folder"
_SECURE: Final = {"http": "https", "oci+http": "oci"}
"""Schemes without TLS, and the source that knows them too."""


class BrokenOffError(SourceError):
    """The source failed in a way that often passes: it makes sense to go on from where it stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What all sources are told. `plain_http`: the operator said that TLS isn't needed."""

    plain_http: bool = False


class Source(Protocol):
    """One artifact in one place. Used by one thread; `close` lets connections go."""

    def manifest(self) -> bytes:
        """Return manifest.json, at most MAX_JSON_BYTES and one of it; raises SourceError."""

    def signature(self) -> bytes | None:
        """Return manifest.json.minisig, None when there is none; raises SourceError."""

    def read(self, part: Component | DataFile, offset: int) -> Generator[bytes, None, None]:
        """Yield a file's bytes from `offset` on. Raises SourceError, BrokenOffError where trying again may help."""

    def close(self) -> None:
        """Let connections go."""


def open_source(address: str, options: SourceOptions) -> Source:
    """Return the source of an address: a folder, or what its scheme says. Raises OptionError for an unknown scheme."""
    scheme, separator, _ = address.partition("://")
    kind = _SECURE.get(scheme, scheme) if separator else _FOLDER
    source: Source = plugins.load(SOURCES, kind)(address, options)
    return source
