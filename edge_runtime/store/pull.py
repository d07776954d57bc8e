"""Bringing a model into the store: resumed where it stopped, checked as it comes, visible only when it is whole."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import ArtifactError, OptionError, SourceError, StateError
from edge_runtime.files import flush_folder, locked, write_whole
from edge_runtime.manifest import MANIFEST_FILE, Component, DataFile, Manifest
from edge_runtime.minisign import SUFFIX, PublicKey
from edge_runtime.route import DEFAULT_MODEL
from edge_runtime.source import BrokenOffError, Source
from edge_runtime.store.layout import Store
from edge_runtime.store.trust import check_signature, check_whole
from edge_runtime.store.version import EMBEDDED_VERSION, ORIGIN_FILE, Version, checked_name

PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Before going on after the source broke off. Counted anew as soon as something came."""

_PARTS: Final = ".parts"
_CHUNK_BYTES: Final = 1 << 20
_SPARE_BYTES: Final = 16 << 20
"""What a pull leaves free on the disk."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Part = Component | DataFile
Progress = Callable[[int, int], object]
"""Told how many bytes of how many are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull brought. `fetched_bytes` is 0 for a version that was there already."""

    version: Version
    fetched_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is pulled: `address` for people, `name` to keep it under (None: its own), `keys` of which one signed it."""

    address: str
    name: str | None = None
    keys: Sequence[PublicKey] = ()


def pull(store: Store, source: Source, wish: Wish, progress: Progress = lambda done, total: None) -> Pulled:
    """Bring the artifact of a source into the store, without activating it.

    What is there already, in this version unfinished or in another one, isn't fetched again; a version that is
    damaged, or lacks its signature, is replaced. Raises SourceError,
    ArtifactError (SignatureError), or StateError, for a full disk too; what came before that is kept for the next try.
    """
    store.prepare()
    store.sweep()
    encoded = source.manifest()
    manifest, digest = Manifest.decode(encoded), hashlib.sha256(encoded).hexdigest()
    signature = source.signature()
    check_signature(encoded, signature, wish.keys)
    name = _name(wish.name or manifest.name, manifest)
    there = next((version for version in store.versions(name) if version.digest == digest), None)
    if there is not None and _is_usable(there, wish.keys):
        return Pulled(version=there, fetched_bytes=0)
    try:
        with locked(store.partial / f"{digest}.lock", f"the download of {name}", seconds=1.0):
            download = _Download(store, source, digest, manifest, progress)
            download.fetch()
            small = {MANIFEST_FILE: encoded, ORIGIN_FILE: _origin(wish.address)}
            if signature is not None:
                small[f"{MANIFEST_FILE}{SUFFIX}"] = signature
            version = store.add(download.finished(small), name, digest)
    except OSError as error:
        raise _unwritten(store, manifest, error) from error
    return Pulled(version=version, fetched_bytes=download.fetched_bytes)


class _Download:
    """One version on its way: finished files under their names, unfinished ones by their digests in `.parts`."""

    def __init__(
        self, store: Store, source: Source, digest: str, manifest: Manifest, progress: Progress
    ) -> None:
        self._store, self._source, self._manifest, self._tell = store, source, manifest, progress
        self._work = store.partial / digest
        self._parts = self._work / _PARTS
        self._parts.mkdir(parents=True, exist_ok=True)
        self._there = 0
        self.fetched_bytes = 0

    def fetch(self) -> None:
        """Have every file there and whole."""
        missing = [part for part in self._manifest.files if not self._is_finished(part)]
        self._there = self._manifest.total_bytes - sum(part.bytes for part in missing)
        missing = [part for part in missing if not self._is_taken_over(part)]
        self._check_space(missing)
        for part in missing:
            self._tell(self._there, self._manifest.total_bytes)
            self._fetch(part)
        self._tell(self._there, self._manifest.total_bytes)

    def finished(self, small: dict[str, bytes]) -> Path:
        """Write what belongs to the folder besides, flush all of it, and return the folder."""
        for name, data in small.items():
            write_whole(self._work / name, data)
        shutil.rmtree(self._parts)
        for folder, _, _ in os.walk(self._work):
            flush_folder(Path(folder))
        return self._work

    def _is_finished(self, part: Part) -> bool:
        """Say whether a file is whole: only then it was renamed to its name."""
        with suppress(OSError):
            return (self._work / part.file).stat().st_size == part.bytes
        return False

    def _is_taken_over(self, part: Part) -> bool:
        """Take a file over from another version that has the same, by a second name for it, unless it is damaged."""
        for name in self._store.names():
            for version in self._store.versions(name):
                other = version.folder / part.file
                if version.digest == EMBEDDED_VERSION:  # the program's files are not the store's
                    continue
                with suppress(OSError):
                    if other.stat().st_size != part.bytes or _digest(other).hexdigest() != part.sha256:
                        continue
                    target = self._target(part)
                    target.unlink(missing_ok=True)
                    os.link(other, target)  # a file system without links: it is fetched
                    self._there += part.bytes
                    return True
        return False

    def _check_space(self, missing: Sequence[Part]) -> None:
        wanted = sum(part.bytes - self._begun(part) for part in missing)
        free = shutil.disk_usage(self._work).free
        if wanted and wanted + _SPARE_BYTES > free:
            raise StateError(
                f"there is not enough space for {self._manifest.name}", got=f"{free / 1e6:,.0f} MB free",
                allowed=f"{(wanted + _SPARE_BYTES) / 1e6:,.0f} MB",
                hint=f"free some in {self._store.folder}: nanoedge models remove takes versions away", code="disk_full",
            )

    def _fetch(self, part: Part) -> None:
        """Fetch a file, from where it stopped; a resumed one that turns out wrong is fetched anew, once."""
        resumed = self._begun(part) > 0
        digest = self._continued(part)
        if digest != part.sha256 and resumed:
            self._partial(part).unlink()
            digest = self._continued(part)
        if digest != part.sha256:
            self._partial(part).unlink()
            raise SourceError(
                f"the source sent another {part.file} than its manifest names", got=digest, allowed=part.sha256,
                hint="nothing of it is kept; tell who runs the source",
            )
        self._partial(part).rename(self._target(part))

    def _continued(self, part: Part) -> str:
        """Append what is missing of a file, flush it, and return its digest."""
        path = self._partial(part)
        begun = self._begun(part)
        digest = _digest(path) if begun else hashlib.sha256()
        before = self._there
        self._there += begun
        with path.open("ab") as file:
            file.truncate(begun)
            tries = 0
            while self._there - before < part.bytes:
                came = self._there
                try:
                    self._append(part, file, digest, self._there - before)
                except BrokenOffError:
                    tries = 1 if self._there > came else tries + 1
                    if tries > len(PAUSES_SECONDS):
                        raise
                    time.sleep(PAUSES_SECONDS[tries - 1])
            file.flush()
            os.fsync(file.fileno())
        found: str = digest.hexdigest()
        if found != part.sha256:
            self._there = before
        return found

    def _append(self, part: Part, file: Any, digest: Any, offset: int) -> None:
        with closing(self._source.read(part, offset)) as chunks:
            for chunk in chunks:
                offset += len(chunk)
                if offset > part.bytes:
                    raise SourceError(f"the source sent more of {part.file} than there is", allowed=part.bytes)
                file.write(chunk)
                digest.update(chunk)
                self._there += len(chunk)
                self.fetched_bytes += len(chunk)
                self._tell(self._there, self._manifest.total_bytes)
        if offset < part.bytes:
            raise BrokenOffError(f"the source sent less of {part.file} than there is", got=offset, allowed=part.bytes)

    def _begun(self, part: Part) -> int:
        """Return how many bytes of an unfinished file are there."""
        with suppress(OSError):
            return min(self._partial(part).stat().st_size, part.bytes)
        return 0

    def _partial(self, part: Part) -> Path:
        return self._parts / part.sha256

    def _target(self, part: Part) -> Path:
        target = self._work / part.file
        if part.file == f"{MANIFEST_FILE}{SUFFIX}":
            raise ArtifactError("a file of the model has the name of its signature", got=part.file)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def _is_usable(version: Version, keys: Sequence[PublicKey]) -> bool:
    """Say whether a version that is there will do; it may be damaged, or have come without its signature."""
    try:
        check_whole(version, keys)
    except ArtifactError:
        return False
    return True


def _name(name: str, manifest: Manifest) -> str:
    if name == DEFAULT_MODEL != manifest.name:
        raise OptionError("this name is that of the embedded model", got=f"--name {name} for {manifest.name}")
    return checked_name(name)


def _digest(path: Path) -> Any:
    """Return the running SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest


def _origin(address: str) -> bytes:
    return (json.dumps({"origin": address, "since": round(time.time(), 3)}) + "\n").encode()


def _unwritten(store: Store, manifest: Manifest, error: OSError) -> StateError:
    if error.errno in _FULL:
        return StateError(
            f"the disk became full while {manifest.name} was fetched", got=error.strerror,
            allowed=f"{manifest.total_bytes / 1e6:,.0f} MB in all",
            hint=f"what came is kept: free some space and pull again, or delete {store.partial}", code="disk_full",
        )
    return StateError("the store of models can't be written", got=error, hint="see that its folder can be written to")
