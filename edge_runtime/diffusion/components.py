"""The graphs of one artifact, opened when they are needed and closed when memory is short.

A diffusion editor runs its parts one after another: text encoder, autoencoder, denoiser, autoencoder. Together they
often don't fit, alone the largest does. So before a part is opened, others are closed as far as memory asks for it, the
one that was used longest ago first.
"""

from __future__ import annotations

from typing import Final

from edge_runtime.artifact import Artifact
from edge_runtime.diffusion.memory import PAINTING, parts
from edge_runtime.engine import Engine, Session
from edge_runtime.errors import ArtifactError
from edge_runtime.heap import trim_heap
from edge_runtime.machine import Machine
from edge_runtime.tensors import Tensor

SPARE_BYTES: Final = 700_000_000
"""What a part needs beside its weights while it works, about: a picture of a megapixel, in an artifact that says none.

Artifacts say it for every part: edge_runtime/diffusion/memory.py.
"""

DEFAULT_PIXELS: Final = 1024 * 1024

ABSENT: Final = "absent"
"""Member of a manifest's settings: names of parts that an artifact for phones lacks."""


def require_whole(artifact: Artifact) -> None:
    """Raise ArtifactError for an artifact that can't paint, as it lacks parts that read the words."""
    manifest = artifact.manifest
    if absent := manifest.settings.get(ABSENT):
        raise ArtifactError(
            f"this artifact holds only a part of {manifest.name}, for an app, and can't edit by itself",
            got=f"{manifest.target}, with {', '.join(component.name for component in manifest.components)}",
            allowed=f"an artifact that has {', '.join(map(str, absent))} too",
            hint="convert the checkpoint with --to onnx to edit here",
        )


class Components:
    """Runs the parts of an artifact by name. Used by one thread at a time.

    `memory_bytes` bounds what is open together and the run of the part that is opened; None: whatever the machine has
    left when a part is opened. `pixels` are those of the result that is being painted.
    """

    def __init__(
        self, artifact: Artifact, engine: Engine, *, threads: int, device: str, memory_bytes: int | None = None
    ) -> None:
        self._artifact, self._engine, self._threads, self._device = artifact, engine, threads, device
        self._memory_bytes = memory_bytes
        self._parts = parts(artifact.manifest.settings)
        self.pixels = DEFAULT_PIXELS
        self._sessions: dict[str, Session] = {}

    def run(self, name: str, **inputs: Tensor) -> dict[str, Tensor]:
        """Run a part; raises EngineError."""
        session = self._sessions.pop(name, None) or self._open(name)
        self._sessions[name] = session  # the last used stands last
        return session.run(inputs)

    def has_input(self, name: str, tensor: str) -> bool:
        """Return whether a part takes a tensor of this name."""
        return any(spec.name == tensor for spec in self._artifact.manifest.component(name).inputs)

    def close(self) -> None:
        """Close every part; the next run opens its own again."""
        while self._sessions:
            self._close_oldest()

    def _open(self, name: str) -> Session:
        self._make_room(name)
        component, path = self._artifact.manifest.component(name), self._artifact.path(name)
        session = self._engine.open(
            path, component, threads=self._threads, device=self._device, seldom=name not in PAINTING
        )
        trim_heap()  # what the engine needed for arranging the weights
        return session

    def _make_room(self, name: str) -> None:
        wanted, working = self._bytes(name), self._working_bytes(name)
        while self._sessions and not self._fits(wanted, working):
            self._close_oldest()

    def _close_oldest(self) -> None:
        self._sessions.pop(next(iter(self._sessions))).close()
        trim_heap()

    def _fits(self, wanted: int, working: int) -> bool:
        if self._memory_bytes is None:
            return wanted + working <= Machine.detect().available_bytes
        held = sum(self._bytes(name) + self._kept_bytes(name) for name in self._sessions)
        return wanted + held + working <= self._memory_bytes

    def _bytes(self, name: str) -> int:
        """Return what a part holds while it is open."""
        if name in self._parts:
            return self._parts[name].open_bytes
        return self._artifact.manifest.component(name).total_bytes

    def _working_bytes(self, name: str) -> int:
        """Return what a run takes besides."""
        return self._parts[name].working_bytes(self.pixels) if name in self._parts else SPARE_BYTES

    def _kept_bytes(self, name: str) -> int:
        """Return what stays of that after the run."""
        return self._parts[name].kept_bytes(self.pixels) if name in self._parts else 0
