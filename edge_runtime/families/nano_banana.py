"""nano-banana: read the instruction, find the subject if a region is named, render. NumPy between four small graphs.

`text` turns bytes into a plan, `vision` finds the subject at 256 px, `context` looks at a copy of at most 384 px for
everything that needs the whole photo, `render` makes the full-size picture, in strips when it is large. `vision`
and `context` are only run for plans that need them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.artifact import Artifact
from edge_runtime.engine import Engine, Session
from edge_runtime.errors import ArtifactError, InstructionError
from edge_runtime.family import Pixels
from edge_runtime.images import resize_to
from edge_runtime.plan import Edit, Plan, Vocabulary
from edge_runtime.request import Step

Floats = NDArray[np.float32]

STRIP_PIXELS: Final = 400_000
"""Pixels times region rows that are rendered at once. It bounds the memory of `render` and keeps its planes near the
caches: at 1024 px with two regions, strips are twice as fast as the whole photo at once."""

_HALO_ROWS: Final = 4
"""Rows beyond a strip that sharpening looks at."""


class NanoBanana:
    """One opened artifact. Graphs are opened on first use and kept."""

    def __init__(self, artifact: Artifact, engine: Engine, threads: int, device: str) -> None:
        self._artifact, self._engine, self._threads, self._device = artifact, engine, threads, device
        self._sessions: dict[str, Session] = {}
        self._settings = artifact.manifest.settings
        try:
            self.vocabulary: Vocabulary = Vocabulary.from_json(self._settings["vocabulary"])
            self._max_bytes = int(self._settings["max_instruction_bytes"])
            self._mask_pixels = int(self._settings["mask_pixels"])
            self._context_pixels = int(self._settings["context_pixels"])
            self._local = frozenset(self._settings["local_adjustments"])
            self._colors = [self.vocabulary.colors[name] for name in self._settings["color_axis"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError("the artifact's settings don't fit nano-banana", got=error) from error

    def plan(self, instruction: str) -> Plan:
        """Read an instruction. Amounts come in steps of 0.01."""
        encoded = instruction.strip().encode()
        if len(encoded) > self._max_bytes:
            raise InstructionError(
                "the instruction is too long for this model",
                got=f"{len(encoded)} bytes of UTF-8",
                allowed=f"at most {self._max_bytes} bytes",
                param="prompt",
            )
        tokens = np.frombuffer(encoded, np.uint8).astype(np.int32)[None]
        result = self._session("text").run({"tokens": tokens})
        return Plan(edits=self._edits(result), beyond=float(result["beyond"][0]))

    def render(self, pixels: Pixels, plan: Plan) -> Generator[Step, None, Pixels]:
        """Carry the plan out on uint8 (height, width, 4)."""
        regional = plan.regions - {"all"} != frozenset()
        mask: Floats = np.ones((1, 1, self._mask_pixels, self._mask_pixels), np.float32)
        if regional:
            yield Step(stage="vision", fraction=0.1)
            mask = self._mask(pixels)
        amounts, colors = self._rows(plan, regional)
        factor = max(1, -(-max(pixels.shape[:2]) // self._context_pixels))
        layers, matte = _neutral_context(len(amounts))
        if regional or any(edit.adjust in self._local for edit in plan.edits):
            yield Step(stage="context", fraction=0.3)
            layers, matte = self._context(pixels, factor, mask, amounts)
        result = np.empty_like(pixels)
        feeds = {"amounts": amounts, "color": colors}
        for top, bottom in _strips(pixels.shape[0], pixels.shape[1] * len(amounts), factor):
            yield Step(stage="render", fraction=0.4 + 0.5 * top / pixels.shape[0])
            result[top:bottom] = self._strip(pixels, layers, matte, factor, (top, bottom), feeds)
        return result

    def close(self) -> None:
        """Close all graphs."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _session(self, name: str) -> Session:
        if name not in self._sessions:
            component = self._artifact.manifest.component(name)
            self._sessions[name] = self._engine.open(
                self._artifact.path(name), component, threads=self._threads, device=self._device
            )
        return self._sessions[name]

    def _edits(self, result: Mapping[str, NDArray[Any]]) -> tuple[Edit, ...]:
        color = self._colors[int(result["color"][0].argmax())]
        edits = []
        for region, row in zip(self.vocabulary.regions, result["amounts"][0], strict=True):
            for adjustment, value in zip(self.vocabulary.adjustments, row, strict=True):
                amount = round(float(np.clip(value, adjustment.low, adjustment.high)), 2)
                if amount and region in adjustment.regions:
                    fill = color if adjustment.name == "fill" else None
                    edits.append(Edit(adjust=adjustment.name, amount=amount, region=region, color=fill))
        return tuple(edits)

    def _rows(self, plan: Plan, regional: bool) -> tuple[Floats, Floats]:
        """Amounts (R, A) and fill colours (R, 3) of each region row; edits of `all` count in every row."""
        rows = ("subject", "background") if regional else ("all",)
        amounts = np.zeros((len(rows), len(self.vocabulary.adjustments)), np.float32)
        colors = np.ones((len(rows), 3), np.float32)
        for edit in plan.edits:
            for row, region in enumerate(rows):
                if edit.region in ("all", region):
                    amounts[row, self.vocabulary.index(edit.adjust)] += edit.amount
                    if edit.color is not None:
                        colors[row] = [int(edit.color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        low = np.array([adjustment.low for adjustment in self.vocabulary.adjustments], np.float32)
        high = np.array([adjustment.high for adjustment in self.vocabulary.adjustments], np.float32)
        return np.clip(amounts, low, high), colors

    def _mask(self, pixels: Pixels) -> Floats:
        side = self._mask_pixels
        photo = np.ascontiguousarray(resize_to(pixels, side, side)[..., :3])
        return self._session("vision").run({"image": photo[None]})["subject"]

    def _context(
        self, pixels: Pixels, factor: int, mask: Floats, amounts: Floats
    ) -> tuple[Floats, Floats]:
        """Layers (R, 4, h, w) and matte (1, 4, h, w) on the photo reduced by `factor`, partial blocks included."""
        photo = np.asarray(Image.fromarray(pixels).convert("RGB").reduce(factor))
        result = self._session("context").run({"photo": photo[None], "mask": mask, "amounts": amounts})
        return result["layers"], result["matte"]

    def _strip(
        self, pixels: Pixels, layers: Floats, matte: Floats, factor: int, rows: tuple[int, int],
        feeds: Mapping[str, NDArray[Any]],
    ) -> Pixels:
        """Render rows top..bottom, with a margin above and below so that no seam shows."""
        height, width = pixels.shape[:2]
        first = max(0, rows[0] // factor - -(-_HALO_ROWS // factor))
        last = min(-(-height // factor), -(-rows[1] // factor) + -(-_HALO_ROWS // factor))
        cut = pixels[first * factor : last * factor]
        if layers.shape[2] > 1:
            cut = _fill_blocks(cut, factor)
            layers, matte = layers[:, :, first:last], matte[:, :, first:last]
        edited: Pixels = self._session("render").run({
            **feeds,
            "image": cut[None],
            "layers": np.ascontiguousarray(layers),
            "matte": np.ascontiguousarray(matte),
            "window": np.array([first * factor, 0, height, width], np.float32),
        })["edited"][0]
        return edited[rows[0] - first * factor : rows[1] - first * factor, :width]


class NanoBananaFamily:
    """Opens nano-banana artifacts."""

    name = "nano-banana"

    def open(self, artifact: Artifact, engine: Engine, *, threads: int, device: str = "cpu") -> NanoBanana:
        """Check the settings; graphs are opened on first use."""
        return NanoBanana(artifact, engine, threads, device)


def _neutral_context(rows: int) -> tuple[Floats, Floats]:
    """Layers that change nothing and a matte that is subject everywhere, as single pixels."""
    layers = np.zeros((rows, 4, 1, 1), np.float32)
    layers[:, 0] = 1.0
    matte = np.zeros((1, 4, 1, 1), np.float32)
    matte[:, 3] = 1.0
    return layers, matte


def _strips(height: int, width: int, factor: int) -> list[tuple[int, int]]:
    """Rows of each strip, `width` counting every region.

    Inner borders lie on multiples of `factor`, where layers can be cut exactly.
    """
    count = -(-height * width // STRIP_PIXELS)
    step = max(1, -(-height // (count * factor))) * factor
    return [(top, min(top + step, height)) for top in range(0, height, step)]


def _fill_blocks(pixels: Pixels, factor: int) -> Pixels:
    """Repeat the last row and column until both sides are multiples of `factor`."""
    missing = [(-side) % factor for side in pixels.shape[:2]]
    return np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge") if any(missing) else pixels


FAMILY = NanoBananaFamily()
