"""What a family of editing models must offer: the seam between the editor and one procedure per model.

One file in `families/` per family, which exposes `FAMILY`. Arrays here are pixels, plans and masks; sessions stay
inside. There are two kinds of models. A planner turns words into a plan of known adjustments and carries it out. A
painter makes a new picture from pictures and words, by denoising.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_runtime.artifact import Artifact
from edge_runtime.engine import Engine
from edge_runtime.plan import Plan, Vocabulary
from edge_runtime.request import Size, Step

Pixels = NDArray[np.uint8]
"""uint8 (height, width, 4): RGBA, sRGB, straight alpha."""

Mask = NDArray[np.float32]
"""float32 (height, width) of the photo: 1 where the user wants the edit."""


@runtime_checkable
class Planner(Protocol):
    """An opened artifact that works by plans. Used by one thread at a time."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a painter can be asked for.

    `pictures` is how many it takes at most, the photo included. `steps` and `guidance` are what it does unless asked
    otherwise; the first of `guidance` is what a plain number means. `negative`: it knows what a picture shall not show.
    """

    pictures: int
    mask: bool
    steps: int
    guidance: Mapping[str, float]
    negative: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a painter works from. `pictures[0]` is the photo; `mask` is the photo's; `box` is as in EditRequest.size.

    Members that are None take the model's own values. `previews` asks for an early picture in every step.
    """

    instruction: str
    pictures: tuple[Pixels, ...] = field(repr=False)
    seed: int
    mask: Mask | None = field(default=None, repr=False)
    box: Size | None = None
    steps: int | None = None
    guidance: Mapping[str, float] = field(default_factory=dict)
    negative: str | None = None
    previews: bool = False


@runtime_checkable
class Painter(Protocol):
    """An opened artifact that paints anew. Used by one thread at a time."""

    @property
    def abilities(self) -> Abilities:
        """Return what it can be asked for."""

    def paint(self, prompt: Prompt) -> Generator[Step, None, Pixels]:
        """Paint, yielding a step before each stage and each pass of the denoiser; closing the generator stops it.

        Raises InstructionError for a text over the limit and OptionError for a size that it can't do, before anything
        costly.
        """

    def close(self) -> None:
        """Release all memory. The model can't be used afterwards."""


Model: TypeAlias = Planner | Painter


class Family(Protocol):
    """Opens artifacts of one family."""

    name: str

    def open(
        self, artifact: Artifact, engine: Engine, *, threads: int, device: str = "cpu", memory_bytes: int | None = None
    ) -> Model:
        """Open the artifact; sessions may be opened on first use. Raises ArtifactError or EngineError.

        `memory_bytes` bounds what is open at once; None: what the machine has left.
        """
