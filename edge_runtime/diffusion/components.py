"""The graphs of one artifact, opened when they are needed and closed when memory is short.

A diffusion editor runs its parts one after another: text encoder, autoencoder, denoiser, autoencoder. Together they
often don't fit, alone the largest does. So before a part is opened, others are closed as far as memory asks for it, the
one that was used longest ago first.
"""

from __future__ import annotations

from typing import Final

from edge_runtime.artifact import Artifact
from edge_runtime.engine import Engine, Session
from edge_runtime.heap import trim_heap
from edge_runtime.machine import Machine
from edge_runtime.tensors import Tensor

SPARE_BYTES: Final = 700_000_000
"""What a part needs beside its weights while it works, about: activations of a picture of a megapixel."""


class Components:
    """Runs the parts of an artifact by name. Used by one thread at a time.

    `memory_bytes` bounds the weights that are open together; None: whatever the machine has left when a part is opened.
    """

    def __init__(
        self, artifact: Artifact, engine: Engine, *, threads: int, device: str, memory_bytes: int | None = None
    ) -> None:
        self._artifact, self._engine, self._threads, self._device = artifact, engine, threads, device
        self._memory_bytes = memory_bytes
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
        component = self._artifact.manifest.component(name)
        path = self._artifact.path(name)
        session = self._engine.open(path, component, threads=self._threads, device=self._device)
        trim_heap()  # what the engine needed for arranging the weights
        return session

    def _make_room(self, name: str) -> None:
        wanted = self._bytes(name)
        while self._sessions and not self._fits(wanted):
            self._close_oldest()

    def _close_oldest(self) -> None:
        self._sessions.pop(next(iter(self._sessions))).close()
        trim_heap()

    def _fits(self, wanted: int) -> bool:
        if self._memory_bytes is None:
            return wanted + SPARE_BYTES <= Machine.detect().available_bytes
        return wanted + sum(map(self._bytes, self._sessions)) + SPARE_BYTES <= self._memory_bytes

    def _bytes(self, name: str) -> int:
        return self._artifact.manifest.component(name).total_bytes
