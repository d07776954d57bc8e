"""What an edit is asked for with, and what comes back. The one list of options: the command and the HTTP API
both build `EditRequest`; nothing else spells the options again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InstructionError, OptionError
from edge_runtime.plan import Plan
from edge_runtime.route import AUTO as AUTO
from edge_runtime.route import DEFAULT_MODEL as DEFAULT_MODEL
from edge_runtime.route import Allowance, Route
from edge_runtime.route import Fallback as Fallback

MAX_INSTRUCTION_CHARACTERS = 2000
"""Of any model; each has a limit of its own below."""

HOPS_HEADER = "X-Nanoedge-Hops"
"""Of HTTP requests: how many nodes passed it on already."""

MAX_REFERENCES = 8
MAX_STEPS = 100
MAX_SEED = 2**32 - 1
MAX_GUIDANCE = 50.0
MAX_DEADLINE_SECONDS = 3600.0
OUTPUT_FORMATS = ("jpeg", "png", "webp", "avif")
PROFILES = ("none", "srgb")
MAX_SIDE_PIXELS = 16384
_SIZE = re.compile(r"([0-9]{1,6})(?:x([0-9]{1,6}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A box that the result must fit into, in pixels. The photo's aspect ratio is kept.

    Models that adjust the photo enlarge nothing; those that paint anew fill the box, so it is the size they work at.
    """

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Size | None:
        """Read `auto` (None: the photo's own size), `1024` or `1024x768`; raises OptionError."""
        if text in ("", "auto"):
            return None
        match = _SIZE.fullmatch(text)
        sides = [int(side) for side in match.groups() if side] if match else []
        if not sides or not all(16 <= side <= MAX_SIDE_PIXELS for side in sides):
            raise OptionError(
                "size is not usable", got=text, allowed=f"auto, 1024 or 1024x768; sides 16 to {MAX_SIDE_PIXELS}",
                param="size",
            )
        return cls(width=sides[0], height=sides[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRequest:
    """One edit. `image` is the encoded photo; either `instruction` or `plan` (JSON data) says what to do.

    `mask` is an encoded picture of the photo's proportions: transparent where the edit belongs, as in OpenAI's API, or
    without transparency white where it belongs.

    The rest is for models that paint by denoising; others refuse it. `references` are further encoded pictures that the
    instruction may speak of, the photo being the first. Equal `seed`s give equal pictures; without one it is drawn.
    `guidance` is by name, `{"": 4.0}` meaning the model's main one. `negative` says what shall not be seen. `previews`
    asks for early pictures in the steps.

    `sharpen`, 0..1, is done at the end, whoever made the picture. `profile` is the colour profile that
    goes into the file; none means sRGB all the same, and saves 600 bytes.

    The rest says where the edit may be done. `fallback` None is what the node's operator chose. An edit that would
    take longer than `deadline_seconds` or cost more than `max_cost_usd` isn't begun. `allowance` is the rule of whoever
    asks, not theirs to choose; `hops` counts the nodes that passed the request on already.
    """

    image: bytes = field(repr=False)
    mask: bytes | None = field(default=None, repr=False)
    instruction: str | None = None
    plan: Mapping[str, object] | None = None
    model: str = DEFAULT_MODEL
    size: Size | None = None
    output_format: str | None = None
    quality: int = 90
    sharpen: float = 0.0
    profile: str = "none"
    references: tuple[bytes, ...] = field(default=(), repr=False)
    steps: int | None = None
    seed: int | None = None
    guidance: Mapping[str, float] = field(default_factory=dict)
    negative: str | None = None
    previews: bool = False
    fallback: Fallback | None = None
    deadline_seconds: float | None = None
    max_cost_usd: float | None = None
    allowance: Allowance = field(default_factory=Allowance)
    hops: int = 0

    def __post_init__(self) -> None:
        if (self.instruction is None) == (self.plan is None):
            raise InstructionError("give either an instruction or a plan, not both and not neither", param="prompt")
        if self.instruction is not None:
            check_instruction(self.instruction)
        if self.output_format is not None and self.output_format not in OUTPUT_FORMATS:
            raise OptionError(
                "output format is not written", got=self.output_format, allowed=", ".join(OUTPUT_FORMATS),
                param="output_format",
            )
        if not 1 <= self.quality <= 100:
            raise OptionError("quality is out of range", got=self.quality, allowed="1 to 100", param="quality")
        if not 0 <= self.sharpen <= 1:
            raise OptionError("sharpen is out of range", got=self.sharpen, allowed="0 to 1", param="sharpen")
        if self.profile not in PROFILES:
            raise OptionError(
                "this colour profile is not written", got=self.profile, allowed=", ".join(PROFILES), param="profile"
            )
        self._check_painting()
        self._check_placing()

    @property
    def painted(self) -> bool:
        """Say whether there are options that only models which paint anew have."""
        given = (self.steps, self.seed, self.negative)
        return bool(self.guidance or self.previews or any(option is not None for option in given))

    def with_less_time(self, seconds: float) -> EditRequest:
        """Return the request with what is left of its deadline after so many seconds; a millisecond at least."""
        if self.deadline_seconds is None:
            return self
        return replace(self, deadline_seconds=max(self.deadline_seconds - seconds, 1e-3))

    def _check_placing(self) -> None:
        """Raise OptionError for a deadline or a cost that can't be meant."""
        deadline, cost = self.deadline_seconds, self.max_cost_usd
        if deadline is not None and not 0 < deadline <= MAX_DEADLINE_SECONDS:
            raise OptionError(
                "the deadline is out of range", got=f"{deadline:g} s", allowed=f"up to {MAX_DEADLINE_SECONDS:g} s",
                param="deadline_ms",
            )
        if cost is not None and not 0 <= cost < math.inf:
            raise OptionError("the cost is out of range", got=cost, allowed="0 or more", param="max_cost_usd")

    def _check_painting(self) -> None:
        """Raise OptionError for numbers that no model takes."""
        if len(self.references) > MAX_REFERENCES:
            raise OptionError(
                "too many pictures", got=1 + len(self.references), allowed=f"1 to {1 + MAX_REFERENCES}", param="image"
            )
        for name, value, least, most in (("steps", self.steps, 1, MAX_STEPS), ("seed", self.seed, 0, MAX_SEED)):
            if value is not None and not least <= value <= most:
                raise OptionError(f"{name} is out of range", got=value, allowed=f"{least} to {most}", param=name)
        for name, strength in self.guidance.items():
            if not (math.isfinite(strength) and 0 <= strength <= MAX_GUIDANCE):
                raise OptionError(
                    f"{name or 'the'} guidance is out of range".strip(), got=strength, allowed=f"0 to {MAX_GUIDANCE:g}",
                    param="guidance_scale",
                )
        if self.negative is not None and len(self.negative) > MAX_INSTRUCTION_CHARACTERS:
            raise OptionError(
                "the negative prompt is too long", got=f"{len(self.negative)} characters",
                allowed=f"at most {MAX_INSTRUCTION_CHARACTERS} characters", param="negative_prompt",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EditResult:
    """The encoded result with how it came about.

    `seconds` is per stage: decode, text, vision, render, encode; or decode, text, photo, denoise, paint, encode.
    A model that paints has no plan, but the `seed` that repeats the picture. `route` says why it was done where it was,
    `cost_usd` and `sent_bytes` what a provider took for it and was sent.
    """

    image: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    plan: Plan | None
    model: str
    version: str
    seconds: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    seed: int | None = None
    route: Route | None = None
    cost_usd: float = 0.0
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Progress of a running edit: the stage that starts now and the share that is done, 0..1.

    `note` is a sentence for the user about what was left out or is likely to disappoint. `done` and `steps` count the
    passes of a denoiser; `preview` is an early look at the picture, uint8 (height, width, 4), small.
    """

    stage: str
    fraction: float
    note: str = ""
    done: int = 0
    steps: int = 0
    preview: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)


def check_instruction(text: str) -> None:
    """Raise InstructionError unless the instruction has 1 to 2000 characters of text."""
    if not text.strip():
        raise InstructionError("the instruction is empty", hint="say what to change, e.g. 'warmer'", param="prompt")
    if len(text) > MAX_INSTRUCTION_CHARACTERS:
        raise InstructionError(
            "the instruction is too long",
            got=f"{len(text)} characters",
            allowed=f"1 to {MAX_INSTRUCTION_CHARACTERS} characters",
            hint="say only what to change",
            param="prompt",
        )
