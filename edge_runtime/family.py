"""What a family of editing models must offer: the seam between the editor and one procedure per model.

One file in `families/` per family, which exposes `FAMILY`. Arrays here are pixels and plans; sessions stay inside.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.artifact import Artifact
from edge_runtime.engine import Engine
from edge_runtime.plan import Plan, Vocabulary
from edge_runtime.request import Step

Pixels = NDArray[np.uint8]
"""uint8 (height, width, 4): RGBA, sRGB, straight alpha."""

Mask = NDArray[np.float32]
"""float32 (height, width) of the photo: 1 where the user wants the edit."""


class Model(Protocol):
    """An opened artifact. Used by one thread at a time."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the adjustments that plans may use."""

    def plan(self, instruction: str) -> Plan:
        """Read an instruction; raises InstructionError when it is too long for the model."""

    def render(self, pixels: Pixels, plan: Plan, mask: Mask | None) -> Generator[Step, None, Pixels]:
        """Carry the plan out, yielding a step before each stage; the result may have another size.

        Edits of the region `masked` need the mask.
        """

    def close(self) -> None:
        """Release all memory. The model can't be used afterwards."""


class Family(Protocol):
    """Opens artifacts of one family."""

    name: str

    def open(self, artifact: Artifact, engine: Engine, *, threads: int, device: str = "cpu") -> Model:
        """Open the artifact; sessions may be opened on first use. Raises ArtifactError or EngineError."""
