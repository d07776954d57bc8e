"""Keeps built engines on disk, each with what it was built for; one that doesn't fit any more is built again.

An engine runs on no other GPU, TensorRT or driver than it was built with, and for no other shapes. It is a program for
the GPU, so the folder belongs to its user alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import EngineError
from edge_runtime.files import write_whole
from edge_runtime.state import default_cache

logger = logging.getLogger(__name__)

FOLDER: Final = "engines"
"""Below the user's folder for what can be made again."""

_ENGINE, _RECORD = ".engine", ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltFor:
    """All that an engine depends on. `shapes` is the text of its profiles, `model` the digest of graph and tensors."""

    gpu: str
    capability: str
    tensorrt: str
    driver: str
    shapes: str
    model: str

    @property
    def key(self) -> str:
        """Return what tells this from any other: 16 hex digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, other: dict[str, Any]) -> str:
        """Say what another record has otherwise: `driver 12060 is now 13020`."""
        return ", ".join(
            f"{name} {other.get(name)!s:.40} is now {value!s:.40}"
            for name, value in asdict(self).items() if other.get(name) != value
        )  # fmt: skip


class EngineCache:
    """A folder of engines. Several processes may use it: files appear whole, and an engine before its record."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or default_cache() / FOLDER

    def engine(self, name: str, wanted: BuiltFor, build: Callable[[], bytes]) -> bytes:
        """Return the engine called `name` for what is wanted, built now unless it is there; raises what `build` raises.

        Engines of this name for something else are removed, and the log says what changed. Raises EngineError when
        the folder can't be written.
        """
        found = self._read(name, wanted)
        if found is not None:
            return found
        self._remove_stale(name, wanted)
        logger.info("building the engine of %s for %s: this takes minutes, once", name, wanted.gpu)
        engine = build()
        self._write(name, wanted, engine)
        return engine

    def _path(self, name: str, key: str, suffix: str) -> Path:
        return self._folder / f"{name}-{key}{suffix}"

    def _read(self, name: str, wanted: BuiltFor) -> bytes | None:
        """Return an engine whose record fits and whose bytes are those that were written."""
        try:
            record = json.loads(self._path(name, wanted.key, _RECORD).read_text(encoding="utf-8"))
            engine = self._path(name, wanted.key, _ENGINE).read_bytes()
        except (OSError, ValueError):
            return None
        if record.get("built_for") == asdict(wanted) and record.get("sha256") == hashlib.sha256(engine).hexdigest():
            return engine
        logger.warning("the cached engine of %s is damaged: it is built again", name)
        return None

    def _remove_stale(self, name: str, wanted: BuiltFor) -> None:
        for record in sorted(self._folder.glob(f"{name}-*{_RECORD}")):
            try:
                built_for = json.loads(record.read_text(encoding="utf-8")).get("built_for", {})
            except (OSError, ValueError):
                built_for = {}
            logger.warning("the cached engine of %s is stale: %s", name, wanted.differences(built_for))
            record.unlink(missing_ok=True)
            record.with_suffix(_ENGINE).unlink(missing_ok=True)

    def _write(self, name: str, wanted: BuiltFor, engine: bytes) -> None:
        record = {"built_for": asdict(wanted), "sha256": hashlib.sha256(engine).hexdigest()}
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._path(name, wanted.key, _ENGINE), engine)
            write_whole(self._path(name, wanted.key, _RECORD), json.dumps(record, indent=2).encode())
        except OSError as error:
            raise EngineError(
                "the engine can't be kept", got=error, hint=f"make room in {self._folder}, or make it writable"
            ) from error
