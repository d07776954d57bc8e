"""Keeps a running server at the active versions of the model store: looks often, changes over without a lost request.

A version that can't be opened is never served: the one before it stays, and `refused` says why.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from edge_runtime.errors import NanoedgeError, OptionError
from edge_runtime.local import LocalEditor
from edge_runtime.route import DEFAULT_MODEL
from edge_runtime.service import EditService
from edge_runtime.store.layout import Store
from edge_runtime.store.trust import check_named, trusted_keys
from edge_runtime.store.version import EMBEDDED_VERSION, Version

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
Closed = Callable[[], object]


class Opener(Protocol):
    """Opens a model, waiting until it is open; what is returned besides is called when its editor has been closed."""

    def __call__(self, folder: Path, name: str) -> tuple[LocalEditor, Closed]:
        """Raise NanoedgeError for a model that can't be opened; nothing of it is left then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A version that is active in the store and not served here, and why."""

    model: str
    version: str
    problem: str


class StoreWatch:
    """Follows one store for one service. `look` is for one thread at a time; all else may be read from any."""

    def __init__(self, store: Store, keys_file: Path | None, service: EditService, open_model: Opener) -> None:
        self._store, self._keys_file, self._service, self._open = store, keys_file, service, open_model
        self._stamp: tuple[object, ...] | None = None
        self._served = {DEFAULT_MODEL: EMBEDDED_VERSION}
        self._refused: dict[str, Refused] = {}
        self._is_first_look = True
        self._own = {info.id for info in service.models()} - {DEFAULT_MODEL}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-store", daemon=True)

    @property
    def refused(self) -> tuple[Refused, ...]:
        """Return the versions that should be served and can't be."""
        return tuple(self._refused.values())

    def start(self) -> None:
        """Go on looking until `close`."""
        self._thread.start()

    def close(self, seconds: float) -> bool:
        """End the looking; false when a model that is being opened now takes longer than that. What is served stays."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def look(self) -> None:
        """Serve what is active in the store now, if that has changed since the last look."""
        self._service.settle()
        try:
            stamp = self._store.stamp()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            names = self._store.names()
        except NanoedgeError as error:
            self._refuse("", "", error)
            return
        self._refused.pop("", None)
        for name in sorted({*names, *self._served}):
            self._follow(name)
        self._is_first_look = False

    def _run(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - the boundary of this thread: the next look may go well
                logger.exception("the model store could not be looked at")

    def _follow(self, name: str) -> None:
        """Serve a name's active version. Where that can't be, what is served stays; a start takes one before it."""
        self._refused.pop(name, None)
        try:
            candidates = list(self._candidates(name))
        except NanoedgeError as error:
            self._refuse(name, "", error)
            return
        if not candidates and name in self._served:
            self._service.dismiss(name)
            del self._served[name]
            logger.warning("the model %s is no longer served: no version of it is active", name)
        for version in candidates:
            if self._served.get(name) == version.digest:
                return
            try:
                self._change(version)
            except NanoedgeError as error:
                if name not in self._refused:
                    self._refuse(name, version.short, error)
            else:
                return

    def _candidates(self, name: str) -> Iterator[Version]:
        active = self._store.active_of(name)
        if active is None:
            return
        yield active
        if self._is_first_look:
            yield from self._store.previous_of(name)

    def _change(self, version: Version) -> None:
        """Open a version and have it served; raises what keeps it from that."""
        name = version.name
        if name in self._own:
            raise OptionError("a --model has this name", got=name, hint="pull the model under another one with --name")
        release = self._held(version)
        try:
            check_named(version, trusted_keys(self._store, self._keys_file))
            editor, closed = self._open(version.folder, name)
        except BaseException:
            release()
            raise

        def ended() -> None:
            closed()
            release()

        try:
            self._service.serve(name, editor, ended)
        except NanoedgeError:
            editor.close()
            ended()
            raise
        self._served[name] = version.digest
        logger.warning("the model %s is served in version %s", name, version.short)

    def _held(self, version: Version) -> Closed:
        try:
            return self._store.hold(version)
        except OSError as error:
            raise OptionError(f"{version} can't be read", got=error, hint="who may read the store's files?") from error

    def _refuse(self, name: str, version: str, error: NanoedgeError) -> None:
        self._refused[name] = Refused(model=name, version=version, problem=str(error))
        kept = self._served.get(name)
        stays = "" if kept is None else f"; version {kept[:12]} is kept"
        logger.error("the active version %s of %s in the model store is not served%s: %s",
                     version or "?", name or "all", stays, error)  # fmt: skip
