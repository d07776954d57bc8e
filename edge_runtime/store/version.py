"""Versions of models as values, and which of them is active: what the small files of the store say."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import OptionError, StateError

EMBEDDED_VERSION: Final = "embedded"
"""The version of nano-banana that comes with the program. It is always there, and active until another one is."""

ORIGIN_FILE: Final = ".origin.json"
SHOWN_DIGITS: Final = 12
"""Of a digest: the version as it stands in results and in /v1/models."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LEAST_DIGITS: Final = 4
_KEPT_VERSIONS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a model. `digest` is that of its manifest, or EMBEDDED_VERSION. `since` is in seconds."""

    name: str
    digest: str
    folder: Path
    origin: str = ""
    since: float = 0.0

    @classmethod
    def read(cls, name: str, folder: Path) -> Version:
        """Return the version in a folder, with what is known of where it came from, which is for people alone."""
        try:
            found = json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))
            origin, since = str(found["origin"]), float(found["since"])
        except (OSError, ValueError, KeyError, TypeError):
            origin, since = "unknown", 0.0
        return cls(name=name, digest=folder.name, folder=folder, origin=origin, since=since)

    @property
    def short(self) -> str:
        """Return what people call it by."""
        return self.digest[:SHOWN_DIGITS]

    def is_meant(self, start: str) -> bool:
        """Say whether the start of a digest can mean this version."""
        return self.digest == start or (len(start) >= _LEAST_DIGITS and self.digest.startswith(start))

    def __str__(self) -> str:
        return f"{self.name}@{self.short}"


@dataclass(frozen=True, slots=True)
class Pointer:
    """The active version of a name, None when none is, and what was active before, the last one first."""

    active: str | None = None
    previous: tuple[str, ...] = field(default=())

    @classmethod
    def decode(cls, text: str, path: Path) -> Pointer:
        """Read what `encode` wrote into the file at `path`; raises StateError."""
        found = json_object(text, path)
        active, previous = found.get("active"), found.get("previous")
        known = isinstance(previous, list) and all(map(_is_version, previous))
        if not known or not (active is None or _is_version(active)):
            raise damaged(path, "is of another form")
        return cls(active, tuple(previous or ()))

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        return (json.dumps({"active": self.active, "previous": self.previous}, indent=2) + "\n").encode()

    def moved(self, digest: str | None) -> Pointer:
        """Return the pointer at another version, with the way back."""
        before = (self.active, *self.previous)
        return Pointer(digest, tuple(one for one in before if one is not None and one != digest)[:_KEPT_VERSIONS])

    def without(self, digest: str) -> Pointer:
        """Return the pointer with no way back to a version."""
        return Pointer(self.active, tuple(one for one in self.previous if one != digest))


def is_name(text: str) -> bool:
    """Say whether a model may have this name."""
    return _NAME.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Say whether this is a whole digest."""
    return _DIGEST.fullmatch(text) is not None


def checked_name(name: str) -> str:
    """Return a name that a model may have; raises OptionError."""
    if not is_name(name):
        raise OptionError("this is no name for a model", got=name, allowed=_NAME.pattern)
    return name


def json_object(text: str, path: Path) -> dict[str, Any]:
    """Return the object in a file of the store; raises StateError."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise damaged(path, "is no JSON object")
    return found


def damaged(path: Path, what: object) -> StateError:
    """Return the error of a store that can't be used as it is."""
    return StateError(
        "the store of models is damaged or can't be read", got=f"{path} {what}",
        hint="nanoedge doctor says more; put the file back from a backup, or activate a version again",
    )


def _is_version(text: object) -> bool:
    return isinstance(text, str) and (text == EMBEDDED_VERSION or is_digest(text))
