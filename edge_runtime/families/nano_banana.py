"""nano-banana: read the instruction, then restore, correct, render and place. NumPy between small graphs.

`text` turns bytes into a plan; `vision` finds subject and skin at 256 px; `fill` and `restore` mend the pixels, tile by
tile; `auto` looks at the photo for the automatic corrections; `context` looks at a small copy for everything that needs
the whole photo; `render` makes the full-size picture, in strips or tiles when it is large. What a plan doesn't need is
not run. Turning, cropping and the like come last and are no graphs (`edge_runtime.canvas`).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime import canvas
from edge_runtime.artifact import Artifact
from edge_runtime.engine import Engine, Session
from edge_runtime.errors import InstructionError, PlanError
from edge_runtime.family import Mask, Pixels
from edge_runtime.generators import retold
from edge_runtime.images import resize_to
from edge_runtime.plan import ERASING, MASKED, Edit, Plan, Vocabulary
from edge_runtime.planner_settings import PlannerSettings
from edge_runtime.request import Step
from edge_runtime.restoration import Graph, filled_blocks, mended, mended_inside
from edge_runtime.tiles import Tile, strips, tiles

Floats = NDArray[np.float32]
Masks = Mapping[str, Mask]
"""Region -> float32 mask of any size that covers the whole photo."""

_SIDES: Final = ("subject", "background")
_SEEN: Final = (*_SIDES, "skin")


class NanoBanana:
    """One opened artifact. Graphs are opened on first use and kept."""

    def __init__(self, artifact: Artifact, engine: Engine, threads: int, device: str) -> None:
        self._artifact, self._engine, self._threads, self._device = artifact, engine, threads, device
        self._sessions: dict[str, Session] = {}
        self._settings = PlannerSettings.read(artifact.manifest.settings)
        self.vocabulary: Vocabulary = self._settings.vocabulary

    def plan(self, instruction: str) -> Plan:
        """Read an instruction. Amounts come in steps of 0.01."""
        encoded, allowed = instruction.strip().encode(), self._settings.max_bytes
        if len(encoded) > allowed:
            raise InstructionError(
                "the instruction is too long for this model", got=f"{len(encoded)} bytes of UTF-8",
                allowed=f"at most {allowed} bytes", param="prompt",
            )
        tokens = np.frombuffer(encoded, np.uint8).astype(np.int32)[None]
        result = self._run("text", tokens=tokens)
        return Plan(edits=self._edits(result), beyond=float(result["beyond"][0]))

    def render(self, pixels: Pixels, plan: Plan, mask: Mask | None) -> Generator[Step, None, Pixels]:
        """Carry the plan out on uint8 (height, width, 4)."""
        masks: dict[str, Mask] = {} if mask is None else {MASKED: mask}
        if plan.regions & {*_SEEN}:
            yield Step(stage="vision", fraction=0.1)
            masks |= self._masks(pixels)
            for note in _doubts(plan, masks, self._settings.faintest):
                yield Step(stage="vision", fraction=0.1, note=note)
        pixels = yield from self._restored(pixels, _of(plan, {*self._settings.restore, ERASING} - {"upscale"}), masks)
        corrections = np.zeros(len(self.vocabulary.adjustments), np.float32)
        if asked := _of(plan, self._settings.corrections):
            yield Step(stage="auto", fraction=0.4)
            corrections = self._corrections(pixels, asked)
        apart = {*self._settings.restore, ERASING, *self._settings.corrections, *self._settings.canvas}
        edits = [edit for edit in plan.edits if edit.adjust not in apart]
        pixels = yield from self._rendered(pixels, edits, corrections, masks)
        pixels = yield from self._upscaled(pixels, plan)
        placed = _of(plan, self._settings.canvas)
        return canvas.placed(pixels, placed, masks, self._settings.shares) if placed else pixels

    def close(self) -> None:
        """Close all graphs."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _run(self, name: str, **feeds: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        if name not in self._sessions:
            component = self._artifact.manifest.component(name)
            self._sessions[name] = self._engine.open(
                self._artifact.path(name), component, threads=self._threads, device=self._device
            )
        return self._sessions[name].run(feeds)

    def _edits(self, result: Mapping[str, NDArray[Any]]) -> tuple[Edit, ...]:
        color = self._settings.colors[int(result["color"][0].argmax())]
        edits = []
        for region, row in zip(self.vocabulary.regions, result["amounts"][0], strict=True):
            for adjustment, value in zip(self.vocabulary.adjustments, row, strict=True):
                amount = round(float(np.clip(value, adjustment.low, adjustment.high)), 2)
                if amount and region in adjustment.regions:
                    paint = color if adjustment.takes_color else None
                    edits.append(Edit(adjust=adjustment.name, amount=amount, region=region, color=paint))
        return tuple(edits)

    def _square(self, pixels: Pixels) -> Pixels:
        side = self._settings.mask_pixels
        return np.ascontiguousarray(resize_to(pixels, side, side)[..., :3])[None]

    def _masks(self, pixels: Pixels) -> dict[str, Mask]:
        found = self._run("vision", image=self._square(pixels))
        subject, skin = found["subject"][0, 0], found["skin"][0, 0]
        return {"subject": subject, "background": 1.0 - subject, "skin": skin}

    def _corrections(self, pixels: Pixels, asked: Sequence[Edit]) -> Floats:
        """What the photo needs, (A,), of the groups that are asked for."""
        needed: Floats = self._run("auto", image=self._square(pixels))["corrections"][0]
        shares = np.zeros_like(needed)
        for edit in asked:
            for name in self._settings.corrections[edit.adjust]:
                index = self.vocabulary.index(name)
                shares[index] = max(shares[index], edit.amount)
        return needed * shares

    def _restored(self, pixels: Pixels, edits: Sequence[Edit], masks: Masks) -> Generator[Step, None, Pixels]:
        """One run of `restore` per region that is named, the whole photo first."""
        mending = self._settings.mending
        for region in sorted({edit.region for edit in edits}, key=self.vocabulary.regions.index):
            chosen = [edit for edit in edits if edit.region == region]
            graph = self._graph(chosen)
            if region == MASKED:
                fill = sum(edit.amount for edit in chosen if edit.adjust == ERASING)
                pixels = yield from _stepped(mended_inside(pixels, graph, mending, masks[MASKED], fill=fill))
                continue
            whole = yield from _stepped(mended(pixels, graph, mending))
            pixels = whole if region == "all" else canvas.blend(pixels, whole, masks[region])
        return pixels

    def _graph(self, edits: Sequence[Edit]) -> Graph:
        """`fill` for what is marked, then `restore` with the strengths of the edits that it does."""
        axis = self._settings.restore
        strengths = np.zeros((1, len(axis)), np.float32)
        for edit in edits:
            if edit.adjust != ERASING:
                strengths[0, axis.index(edit.adjust)] = edit.amount

        def run(image: Pixels, hole: Floats) -> Pixels:
            if hole.any():
                image = self._run("fill", image=image[None], mask=hole[None, None])["filled"][0]
            if strengths.any():
                image = self._run("restore", image=image[None], strengths=strengths)["restored"][0]
            return image

        return run

    def _upscaled(self, pixels: Pixels, plan: Plan) -> Generator[Step, None, Pixels]:
        edits = [edit for edit in plan.edits if edit.adjust == "upscale"]
        if not edits:
            return pixels
        height, width = pixels.shape[:2]
        allowed = self._settings.upscaled_pixels
        if 4 * height * width > allowed:
            raise PlanError(
                "the photo is too large to be enlarged", got=f"{width} x {height}",
                allowed=f"up to {allowed // 4} pixels", hint="ask for a smaller size first", param="plan",
            )
        enlarged = yield from _stepped(mended(canvas.enlarge(pixels), self._graph(edits), self._settings.mending))
        return enlarged

    def _rendered(
        self, pixels: Pixels, edits: Sequence[Edit], corrections: Floats, masks: Masks
    ) -> Generator[Step, None, Pixels]:
        """One pass per kind of region: the whole photo with subject and background, the skin, the masked area."""
        everywhere = [edit for edit in edits if edit.region == "all"]
        extra = corrections
        for rows in (_SIDES, ("skin", "rest"), (MASKED,)):
            regional = [edit for edit in edits if edit.region in rows]
            if not regional:
                continue
            before = pixels
            if rows == (MASKED,):
                if everywhere or extra.any():
                    pixels = before = yield from self._pass(pixels, everywhere, ("all",), extra, masks)
                pixels = yield from self._pass(pixels, regional, rows, 0.0 * extra, masks)
                pixels = canvas.blend(before, pixels, masks[MASKED])
            else:
                pixels = yield from self._pass(pixels, [*everywhere, *regional], rows, extra, masks)
            everywhere, extra = [], 0.0 * extra
        if everywhere or extra.any():
            pixels = yield from self._pass(pixels, everywhere, ("all",), extra, masks)
        return pixels

    def _pass(
        self, pixels: Pixels, edits: Sequence[Edit], rows: Sequence[str], extra: Floats, masks: Masks
    ) -> Generator[Step, None, Pixels]:
        """Run `context` if it is needed and `render` over all strips."""
        regional = len(rows) == 2
        names = {edit.adjust for edit in edits}
        amounts, colors = self._rows(edits, rows, extra)
        factor = max(1, -(-max(pixels.shape[:2]) // self._settings.context_pixels))
        full = names & self._settings.full or (regional and names & self._settings.cutting)
        suffix = "_full" if full else ""
        layers = _neutral_context(len(amounts), bool(full))
        if regional or names & self._settings.local:
            yield Step(stage="context", fraction=0.45)
            mask = masks[rows[0]] if regional else np.ones((2, 2), np.float32)
            layers = self._context(f"context{suffix}", pixels, factor, mask, amounts)
        result = np.empty_like(pixels)
        feeds = {"amounts": amounts, "color": colors}
        for tile in self._cover(f"render{suffix}", pixels, len(amounts), factor):
            top, bottom, left, right = tile.kept
            yield Step(stage="render", fraction=0.5 + 0.4 * top / pixels.shape[0])
            result[top:bottom, left:right] = self._tile(f"render{suffix}", pixels, layers, factor, tile, feeds)
        return result

    def _rows(self, edits: Sequence[Edit], rows: Sequence[str], extra: Floats) -> tuple[Floats, Floats]:
        """Amounts (R, A) and colours (R, 3) of each region row; edits of `all` count in every row."""
        amounts = np.tile(extra, (len(rows), 1))
        colors = np.ones((len(rows), 3), np.float32)
        for edit in edits:
            for row, region in enumerate(rows):
                if edit.region in ("all", region):
                    amounts[row, self.vocabulary.index(edit.adjust)] += edit.amount
                    if edit.color is not None:
                        colors[row] = [int(edit.color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        low = np.array([adjustment.low for adjustment in self.vocabulary.adjustments], np.float32)
        high = np.array([adjustment.high for adjustment in self.vocabulary.adjustments], np.float32)
        return np.clip(amounts, low, high), colors

    def _context(
        self, name: str, pixels: Pixels, factor: int, mask: Mask, amounts: Floats
    ) -> dict[str, NDArray[Any]]:
        """What `context` gives for the photo reduced by `factor`, partial blocks included."""
        photo = np.asarray(Image.fromarray(pixels).convert("RGB").reduce(factor))
        side = (self._settings.mask_pixels,) * 2
        if mask.shape != side:
            mask = np.asarray(Image.fromarray(mask).resize(side, Image.Resampling.BILINEAR))
        return dict(self._run(name, photo=photo[None], mask=mask[None, None], amounts=amounts))

    def _cover(self, name: str, pixels: Pixels, rows: int, factor: int) -> list[Tile]:
        """Return strips or, where the graph has a largest size, tiles.

        Each sees whole cells of the layers, and a margin around what is kept, so that no seam shows.
        """
        height, width = pixels.shape[:2]
        halo = -(-self._settings.halo_rows // factor) * factor
        if (side := self._settings.tile_pixels.get(name)) is not None:
            return list(tiles(height, width, side // factor * factor, halo, factor))
        cover = []
        for top, bottom in strips(height, width * rows, self._settings.strip_pixels, factor):
            last = min(height, -(-bottom // factor) * factor + halo)
            cover.append(Tile(seen=(max(0, top - halo), last, 0, width), kept=(top, bottom, 0, width)))
        return cover

    def _tile(
        self, name: str, pixels: Pixels, layers: Mapping[str, NDArray[Any]], factor: int, tile: Tile,
        feeds: Mapping[str, NDArray[Any]],
    ) -> Pixels:
        """Render what a tile keeps of the picture."""
        top, bottom, left, right = tile.seen
        cut = pixels[top:bottom, left:right]
        if layers["layers"].shape[2] > 1:
            cut = filled_blocks(cut, factor)
            rows, columns = (slice(a // factor, -(-b // factor)) for a, b in ((top, bottom), (left, right)))
            layers = {key: np.ascontiguousarray(value[:, :, rows, columns]) for key, value in layers.items()}
        window = np.array([top, left, *pixels.shape[:2]], np.float32)
        edited: Pixels = self._run(name, **feeds, **layers, image=cut[None], window=window)["edited"][0]
        first, last, before, after = tile.kept
        return edited[first - top : last - top, before - left : after - left]


class NanoBananaFamily:
    """Opens nano-banana artifacts."""

    name = "nano-banana"

    def open(
        self, artifact: Artifact, engine: Engine, *, threads: int, device: str = "cpu", memory_bytes: int | None = None
    ) -> NanoBanana:
        """Check the settings; graphs are opened on first use, all together a few megabytes."""
        return NanoBanana(artifact, engine, threads, device)


def _of(plan: Plan, names: Collection[str]) -> list[Edit]:
    return [edit for edit in plan.edits if edit.adjust in names]


def _doubts(plan: Plan, masks: Masks, faintest: Mapping[str, float]) -> list[str]:
    """Sentences for regions that the photo doesn't seem to have."""
    asked = {"skin": "skin" in plan.regions, "subject": bool(plan.regions & {*_SIDES})}
    return [
        f"no clear {name} was found in the photo, so edits by this region may do little or look patchy"
        for name, least in faintest.items()
        if asked[name] and float(masks[name].mean()) < least
    ]


def _neutral_context(rows: int, full: bool) -> dict[str, NDArray[Any]]:
    """Layers that change nothing and a matte that is subject everywhere, as single pixels."""
    layers = np.zeros((rows, 4, 1, 1), np.float32)
    layers[:, 0] = 1.0
    matte = np.zeros((1, 4, 1, 1), np.float32)
    matte[:, 3] = 1.0
    neutral = {"layers": layers, "matte": matte}
    return {**neutral, "colors": np.zeros((1, 6, 1, 1), np.float32)} if full else neutral


def _stepped(shares: Generator[float, None, Pixels]) -> Generator[Step, None, Pixels]:
    """Turn the shares of a restoration into steps."""
    return retold(shares, lambda share: Step(stage="restore", fraction=0.15 + 0.25 * share))


FAMILY = NanoBananaFamily()
