"""A small editor that implements the edit service with Pillow: it knows a few adjustments and a few words.

For tests that need to hold the service still or to make it fail; everything else runs on the real one.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from edge_runtime.errors import UnknownModelError
from edge_runtime.images import decode, encode
from edge_runtime.limits import Limits
from edge_runtime.plan import Edit, Plan, Vocabulary, parse_plan
from edge_runtime.receipts import Record
from edge_runtime.remote import Remote
from edge_runtime.request import EditRequest, EditResult
from server.admission import Admission

VOCABULARY = Path(__file__).parents[2] / "converters" / "nano_banana" / "vocabulary.json"
WORDS = {
    "warm": Edit(adjust="warmth", amount=0.4),
    "wärm": Edit(adjust="warmth", amount=0.4),
    "bright": Edit(adjust="exposure", amount=0.3),
    "contrast": Edit(adjust="contrast", amount=0.5),
    "kontrast": Edit(adjust="contrast", amount=0.5),
    "black and white": Edit(adjust="black_and_white", amount=1.0),
    "blur": Edit(adjust="blur", amount=0.6, region="background"),
    "remove": Edit(adjust="remove", amount=1.0, region="background"),
    "blue": Edit(adjust="fill", amount=1.0, region="background", color="#1d4ed8"),
}


@dataclass(frozen=True, kw_only=True)
class Info:
    """The members of the real ModelInfo that the server reads."""

    id: str = "nano-banana"
    family: str = "darkroom"
    version: str = "test"
    recipe: str = "none"
    ready: bool = True
    created: int = 1_700_000_000


class Darkroom:
    """Edits wait while `gate` is cleared; `started` tells when one began. It has no providers."""

    default_model = "nano-banana"
    remotes: ClassVar[Mapping[str, Remote]] = {}

    def __init__(self) -> None:
        self.gate, self.started = threading.Event(), threading.Event()
        self.gate.set()
        self.edits = 0
        self._vocabulary = Vocabulary.from_json(json.loads(VOCABULARY.read_text()))

    def models(self) -> tuple[Info, ...]:
        return (Info(),)

    def obstacles(self) -> tuple[str, ...]:
        return ()

    def vocabulary(self, model: str) -> Vocabulary:
        if model != "nano-banana":
            raise UnknownModelError("there is no such model", got=model, allowed="nano-banana", param="model")
        return self._vocabulary

    def abilities(self, model: str = "nano-banana") -> None:
        """It works by plans."""

    def plan(self, instruction: str, model: str = "nano-banana") -> Plan:
        self.vocabulary(model)
        edits = tuple(edit for word, edit in WORDS.items() if word in instruction.lower())
        return Plan(edits=edits, beyond=0.04 if edits else 0.93)

    def edit(self, request: EditRequest, queue: Admission, abandoned: Callable[[], bool], record: Record) -> EditResult:
        with queue.turn():
            return self._edited(request)

    def _edited(self, request: EditRequest) -> EditResult:
        began = time.perf_counter()
        vocabulary = self.vocabulary(request.model)
        self.started.set()
        self.gate.wait(30)
        self.edits += 1
        if request.plan is not None:
            plan = parse_plan(request.plan, vocabulary)
        else:
            plan = self.plan(request.instruction or "")
        source = decode(request.image, Limits(), request.size)
        photo = Image.fromarray(source.pixels)
        for edit in plan.edits:
            photo = _apply(photo, edit)
        opaque = photo.getextrema()[3][0] == 255
        name = request.output_format or ("jpeg" if opaque else "png")
        data, media_type, warnings = encode(np.asarray(photo), not opaque, name, request.quality)
        return EditResult(
            image=data, media_type=media_type, width=photo.width, height=photo.height, plan=plan, model=request.model,
            version="test", seconds={"render": time.perf_counter() - began}, warnings=(*source.warnings, *warnings),
        )

    def close(self) -> None:
        self.gate.set()


def _apply(photo: Image.Image, edit: Edit) -> Image.Image:
    mask = Image.new("L", photo.size, 255 if edit.region == "all" else 0)
    if edit.region != "all":
        box = (photo.width * 0.22, photo.height * 0.05, photo.width * 0.78, photo.height * 1.2)
        ImageDraw.Draw(mask).ellipse(box, fill=255)
        mask = mask.filter(ImageFilter.GaussianBlur(photo.width / 80))
        mask = mask if edit.region == "subject" else mask.point([255 - value for value in range(256)])
    return Image.composite(_changed(photo, edit), photo, mask)


def _changed(photo: Image.Image, edit: Edit) -> Image.Image:
    amount = edit.amount
    if edit.adjust == "exposure":
        return ImageEnhance.Brightness(photo).enhance(2.0**amount)
    if edit.adjust == "contrast":
        return ImageEnhance.Contrast(photo).enhance(1 + amount)
    if edit.adjust == "saturation":
        return ImageEnhance.Color(photo).enhance(1 + amount)
    if edit.adjust == "black_and_white":
        return ImageEnhance.Color(photo).enhance(1 - amount)
    if edit.adjust == "blur":
        return photo.filter(ImageFilter.GaussianBlur(amount * photo.width / 50))
    if edit.adjust == "warmth":
        red, green, blue, alpha = photo.split()
        warm = (red.point(lambda v: v * (1 + 0.3 * amount)), green, blue.point(lambda v: v * (1 - 0.3 * amount)), alpha)
        return Image.merge("RGBA", warm)
    if edit.adjust == "fill":
        return Image.new("RGBA", photo.size, edit.color)
    if edit.adjust == "remove":
        return Image.new("RGBA", photo.size, (0, 0, 0, 0))
    return photo
