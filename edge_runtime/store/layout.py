"""The store on disk: which versions of which models are there, which of each is active, and who may go.

    store.json                      the store's format
    lock                            held for the moment of a change
    models/NAME/DIGEST/             an artifact; DIGEST is the SHA-256 of its manifest, which names those of all files
    models/NAME/DIGEST/.origin.json where it came from, and when
    models/NAME/active.json         the active version of a name, and those that were active before
    partial/                        unfinished downloads
    trash/                          removed, and about to be gone

A version appears by one rename, and an active version changes by one rename: nothing is ever half there.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edge_runtime.editor import EMBEDDED
from edge_runtime.errors import StateError, UnknownModelError
from edge_runtime.files import flush_folder, hold, is_held, locked, write_whole
from edge_runtime.manifest import MANIFEST_FILE
from edge_runtime.route import DEFAULT_MODEL
from edge_runtime.store.version import (
    EMBEDDED_VERSION,
    SHOWN_DIGITS,
    Pointer,
    Version,
    checked_name,
    damaged,
    is_digest,
    is_name,
    json_object,
)

FORMAT: Final = 1
TRUSTED_KEYS: Final = "trusted.pub"
_FORMAT_FILE, _LOCK_FILE, _ACTIVE_FILE = "store.json", "lock", "active.json"
_STALE_SECONDS: Final = 7 * 86_400.0


class Store:
    """A folder of models. Safe to share between threads and processes; reading changes nothing on the disk."""

    def __init__(self, folder: Path) -> None:
        """Open nothing yet; a folder that doesn't exist is a store without models."""
        self.folder = folder
        self._models = folder / "models"

    def check(self) -> None:
        """Raise StateError for a store of a newer nanoedge, or one that can't be read. Touches nothing."""
        try:
            text = (self.folder / _FORMAT_FILE).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            if self._models.exists():
                raise damaged(self.folder / _FORMAT_FILE, "is missing") from None
            return
        except OSError as error:
            raise damaged(self.folder, error.strerror) from error
        found = json_object(text, self.folder / _FORMAT_FILE).get("format")
        if type(found) is int and found > FORMAT:
            raise StateError(
                "this store of models was written by a newer nanoedge; nothing was changed",
                got=f"{self.folder} of format {found}", allowed=f"format {FORMAT}",
                hint="go back to the newer nanoedge, or name another folder with --model-store", code="newer_store",
            )
        if type(found) is not int or found != FORMAT:
            raise damaged(self.folder / _FORMAT_FILE, f"of format {found!r}")

    def prepare(self) -> None:
        """Make the folders; raises StateError."""
        self.check()
        try:
            if not self.folder.parent.exists():
                self.folder.parent.mkdir(mode=0o700, parents=True)  # the folder for state, where keys lie too
            self.folder.mkdir(exist_ok=True)
            if not (self.folder / _FORMAT_FILE).exists():  # before all else: a store without it is a damaged one
                write_whole(self.folder / _FORMAT_FILE, f'{{"format": {FORMAT}}}\n'.encode())
            for folder in (self._models, self.partial, self._trash):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    @property
    def partial(self) -> Path:
        """Return the folder of unfinished downloads."""
        return self.folder / "partial"

    def names(self) -> tuple[str, ...]:
        """Return the names of all models, in order; raises StateError."""
        self.check()
        found = {entry.name for entry in _entries(self._models) if is_name(entry.name)}
        return tuple(sorted(found | {DEFAULT_MODEL}))

    def versions(self, name: str) -> tuple[Version, ...]:
        """Return the versions of a name, those that came last first; the embedded one is last."""
        found = [
            Version.read(name, entry) for entry in _entries(self._models / name) if is_digest(entry.name)
        ]
        if name == DEFAULT_MODEL:
            found.append(Version(name=name, digest=EMBEDDED_VERSION, folder=EMBEDDED, origin="this program"))
        return tuple(sorted(found, key=lambda version: (-version.since, version.digest)))

    def pointer(self, name: str) -> Pointer:
        """Return which version of a name is active; raises StateError for a damaged file."""
        path = self._models / name / _ACTIVE_FILE
        try:
            return Pointer.decode(path.read_text(encoding="utf-8"), path)
        except (FileNotFoundError, NotADirectoryError):
            return Pointer(EMBEDDED_VERSION if name == DEFAULT_MODEL else None)
        except OSError as error:
            raise damaged(path, error.strerror) from error

    def stamp(self) -> tuple[object, ...]:
        """Return what differs as soon as another version of anything is active. Costs a look at each name."""
        found: list[object] = []
        for entry in _entries(self._models):
            with suppress(OSError):
                status = (entry / _ACTIVE_FILE).stat()
                found.append((entry.name, status.st_ino, status.st_mtime_ns))
        return tuple(sorted(found, key=str))

    def active(self) -> dict[str, Version]:
        """Return the active versions by name."""
        return {name: version for name in self.names() if (version := self.active_of(name)) is not None}

    def active_of(self, name: str) -> Version | None:
        """Return the active version of a name; raises StateError when it isn't there."""
        digest = self.pointer(name).active
        return None if digest is None else self._version(name, digest)

    def previous_of(self, name: str) -> tuple[Version, ...]:
        """Return the versions that were active before and are still there, the last one first."""
        there = {version.digest: version for version in self.versions(name)}
        return tuple(there[digest] for digest in self.pointer(name).previous if digest in there)

    def find(self, text: str) -> Version:
        """Return the version that NAME@VERSION, or NAME for its active one, means; raises UnknownModelError."""
        name, _, start = text.partition("@")
        self._check_known(name)
        if not start:
            if (version := self.active_of(name)) is None:
                raise UnknownModelError(f"no version of {name} is active", hint=f"nanoedge models activate {name}@...")
            return version
        versions = self.versions(name)
        found = [version for version in versions if version.is_meant(start)]
        if len(found) != 1:
            what = "there is no such version" if not found else "several versions begin so"
            raise UnknownModelError(what, got=text, allowed=", ".join(map(str, versions)) or "none")
        return found[0]

    def add(self, work: Path, name: str, digest: str) -> Version:
        """Take over a complete folder as a version, by renaming it, in place of a damaged one; raises StateError."""
        target = self._models / checked_name(name) / digest
        with self._change():
            target.parent.mkdir(exist_ok=True)
            if target.exists():
                target.rename(self._trash / secrets.token_hex(8))
            work.rename(target)
            flush_folder(target.parent)
            flush_folder(self._models)
        self.sweep()
        return Version.read(name, target)

    def activate(self, version: Version) -> bool:
        """Make a version, which was checked, the active one; false when it was already. Raises StateError.

        The file is written either way, so that servers that could not open this version try once more.
        """
        with self._change():
            self._version(version.name, version.digest)  # it may have been removed meanwhile
            pointer = self._pointer_if_whole(version.name)
            self._point(version.name, pointer.moved(version.digest))
            return pointer.active != version.digest

    def back(self, name: str) -> Version:
        """Return the version that a rollback of this name goes to; raises StateError when there is none."""
        self._check_known(name)
        previous = self.previous_of(name)
        if not previous:
            raise StateError(f"there is no previous version of {name} to go back to", hint="see: nanoedge models list")
        return previous[0]

    def rollback(self, version: Version) -> None:
        """Make what `back` returned active again. What was active is no previous version then."""
        with self._change():
            pointer = self.pointer(version.name)
            if version.digest not in pointer.previous:
                raise StateError("another process changed the active version meanwhile", got=str(version))
            rest = pointer.previous[pointer.previous.index(version.digest) + 1 :]
            self._point(version.name, Pointer(version.digest, rest))

    def deactivate(self, name: str) -> None:
        """Let no version of a name be active; nano-banana's embedded one takes over there."""
        self._check_known(name)
        with self._change():
            self._point(name, self.pointer(name).moved(EMBEDDED_VERSION if name == DEFAULT_MODEL else None))

    def remove(self, version: Version, *, even_previous: bool = False) -> None:
        """Remove a version, unless it is active, in use, or the one that a rollback would go to. Raises StateError."""
        with self._change():
            pointer = self.pointer(version.name)
            self._check_removable(version, pointer, even_previous)
            if version.digest in pointer.previous:
                self._point(version.name, pointer.without(version.digest))
            version.folder.rename(self._trash / secrets.token_hex(8))
            flush_folder(version.folder.parent)
            if not self.versions(version.name) and pointer.active is None:
                (version.folder.parent / _ACTIVE_FILE).unlink(missing_ok=True)
                version.folder.parent.rmdir()
        self.sweep()

    def sweep(self) -> None:
        """Take away what was removed, and downloads that nobody went on with for a week."""
        for folder in _entries(self._trash):
            shutil.rmtree(folder, ignore_errors=True)
        for entry in _entries(self.partial):
            with suppress(OSError):  # somebody else was quicker
                if time.time() - _touched(entry) > _STALE_SECONDS:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def hold(self, version: Version) -> Callable[[], None]:
        """Keep others from removing a version until what is returned is called."""
        return hold(version.folder / MANIFEST_FILE) if version.digest != EMBEDDED_VERSION else lambda: None

    @property
    def _trash(self) -> Path:
        return self.folder / "trash"

    def _version(self, name: str, digest: str) -> Version:
        for version in self.versions(name):
            if version.digest == digest:
                return version
        raise StateError(
            f"version {digest[:SHOWN_DIGITS]} of {name} is gone from the store", got=self._models / name / digest,
            hint="pull it again, or activate another one",
        )

    def _check_known(self, name: str) -> None:
        if name not in self.names():
            raise UnknownModelError("there is no such model in the store", got=name, allowed=", ".join(self.names()))

    def _pointer_if_whole(self, name: str) -> Pointer:
        """Return the pointer; a damaged one must not keep its operator from choosing anew."""
        with suppress(StateError):
            return self.pointer(name)
        return Pointer()

    def _check_removable(self, version: Version, pointer: Pointer, even_previous: bool) -> None:
        if version.digest == EMBEDDED_VERSION:
            raise StateError("the embedded version comes with the program and can't be removed", got=str(version))
        if version.digest == pointer.active:
            hint = f"activate another one first, or: nanoedge models deactivate {version.name}"
            raise StateError("this version is active and can't be removed", got=str(version), hint=hint)
        if version in self.previous_of(version.name)[:1] and not even_previous:
            hint = "to remove it all the same, add --even-previous"
            raise StateError("a rollback would go to this version, so it is kept", got=str(version), hint=hint)
        if is_held(version.folder / MANIFEST_FILE):
            hint = "wait until running edits have ended, or stop that server"
            raise StateError("a running nanoedge uses this version", got=str(version), hint=hint)

    def _point(self, name: str, pointer: Pointer) -> None:
        (self._models / name).mkdir(exist_ok=True)
        write_whole(self._models / name / _ACTIVE_FILE, pointer.encode())

    @contextmanager
    def _change(self) -> Iterator[None]:
        self.prepare()
        try:
            with locked(self.folder / _LOCK_FILE, "the store of models"):
                yield
        except OSError as error:
            raise _unwritable(self.folder, error) from error


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise damaged(folder, error.strerror) from error


def _touched(folder: Path) -> float:
    """Return when anything in a folder was last written."""
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def _unwritable(path: Path, error: OSError) -> StateError:
    where = os.fspath(error.filename) if error.filename else path
    return StateError(
        "the store of models can't be written", got=f"{where}: {error.strerror}",
        hint="free some space, or run this as the user that owns the folder",
    )
