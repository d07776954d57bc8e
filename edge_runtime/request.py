"""What an edit is asked for with, and what comes back. The one list of options: the command and the HTTP API
both build `EditRequest`; nothing else spells the options again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_runtime.errors import InstructionError, OptionError
from edge_runtime.plan import Plan

MAX_INSTRUCTION_CHARACTERS = 500
OUTPUT_FORMATS = ("jpeg", "png", "webp")
MAX_SIDE_PIXELS = 16384
DEFAULT_MODEL = "nano-banana"
_SIZE = re.compile(r"([0-9]{1,6})(?:x([0-9]{1,6}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A box that the result must fit into, in pixels. The photo's aspect ratio is kept; nothing is enlarged."""

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
    """

    image: bytes = field(repr=False)
    mask: bytes | None = field(default=None, repr=False)
    instruction: str | None = None
    plan: Mapping[str, object] | None = None
    model: str = DEFAULT_MODEL
    size: Size | None = None
    output_format: str | None = None
    quality: int = 90

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


@dataclass(frozen=True, slots=True, kw_only=True)
class EditResult:
    """The encoded result with how it came about. `seconds` is per stage: decode, text, vision, render, encode."""

    image: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    plan: Plan
    model: str
    version: str
    seconds: Mapping[str, float]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Progress of a running edit: the stage that starts now and the share that is done, 0..1.

    `note` is a sentence for the user about what was left out or is likely to disappoint.
    """

    stage: str
    fraction: float
    note: str = ""


def check_instruction(text: str) -> None:
    """Raise InstructionError unless the instruction has 1 to 500 characters of text."""
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
