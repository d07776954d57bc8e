"""The children of a node: one process a model, one that decodes, and a thread that unloads what nobody uses."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from edge_runtime.child import Patience, Spawner
from edge_runtime.decoder import Decoder
from edge_runtime.editor import EMBEDDED
from edge_runtime.route import DEFAULT_MODEL
from edge_runtime.worker_editor import Opening, WorkerEditor

_LONGEST_SLEEP_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """How workers live. `idle_seconds` None keeps all models for ever; `device` is that of all but the small one."""

    idle_seconds: float | None = None
    device: str = "cpu"
    patience: Patience = field(default_factory=Patience)


class Workers:
    """Makes the editors of a node in processes of their own; `close` ends whatever is left of them."""

    def __init__(self, crew: Crew) -> None:
        self._crew, self._spawner = crew, Spawner()
        self.decoder = Decoder(self._spawner)
        self._decoders = [self.decoder]
        self.editors: list[WorkerEditor] = []
        self._changing = threading.Lock()
        self._closing = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="unload-idle-models", daemon=True)

    def editor(self, path: Path, threads: int | None = None, name: str = "") -> WorkerEditor:
        """Start a child that opens the artifact at `path`, without waiting for it; raises ArtifactError.

        nano-banana stays loaded, on the processor: early pictures, due in a fifth of a second, are its work.
        """
        opening = Opening(
            path=path, threads=threads, idle_seconds=self._crew.idle_seconds, device=self._crew.device,
            patience=self._crew.patience, name=name or path.name,
        )  # fmt: skip
        if path == EMBEDDED or name == DEFAULT_MODEL:
            opening = replace(opening, idle_seconds=None, device="cpu")
        made = WorkerEditor(opening, self._spawner, self.decoder.decode)
        with self._changing:
            self.editors = [*self.editors, made]  # others may be going through the list
        return made

    def forget(self, editor: WorkerEditor) -> None:
        """Look no longer after an editor that has been closed."""
        with self._changing:
            self.editors = [other for other in self.editors if other is not editor]

    def outer_decoder(self) -> Decoder:
        """Return one more decoder, of what goes to providers and comes from them: no edit here waits for that."""
        self._decoders.append(Decoder(self._spawner))
        return self._decoders[-1]

    def wait(self) -> None:
        """Wait until all models are open, and raise what opening one raised."""
        for decoder in self._decoders:
            decoder.start()
        for editor in self.editors:
            editor.abilities  # noqa: B018 - waits for it
        if self._crew.idle_seconds is not None:
            self._sweeper.start()

    def close(self) -> None:
        """End the children."""
        self._closing.set()
        if self._sweeper.ident is not None:
            self._sweeper.join()
        for editor in self.editors:
            editor.close()
        for decoder in self._decoders:
            decoder.close()
        self._spawner.close()

    def _sweep(self) -> None:
        between = min(_LONGEST_SLEEP_SECONDS, (self._crew.idle_seconds or _LONGEST_SLEEP_SECONDS) / 4)
        while not self._closing.wait(between):
            for editor in self.editors:
                editor.unload_if_idle()
