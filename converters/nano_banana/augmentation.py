"""Batches of training pictures made from a few hundred photographs, whole batches at a time.

A base picture (a labelled photograph or a plain background) is cropped and turned; striped cloth is hung behind it, and
textured shapes that are no subject, cut-outs of subjects, rows of people, still lifes and things that a subject holds
are laid over it, each with colours of its own (copy-paste, Ghiasi et al. 2021).
`degrade` spoils the result as cameras and files do.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from converters.nano_banana.cut_outs import View, cell_centres, edge_cells, lay_over, outlines, weights
from converters.nano_banana.degradation import degrade, jitter_colour
from converters.nano_banana.drapes import drapes
from converters.nano_banana.photos import Pictures

_GROUP_WEIGHTS: Final = {
    "ccp": 0.26,
    "feral_cat": 0.14,
    "plain_ground": 0.09,
    "dali_pixelwise": 0.02,
    "portrait": 0.1,
    "person": 0.04,
    "group": 0.05,
    "animal": 0.12,
    "object": 0.16,
    "vehicle": 0.04,
    "pedestrian": 0.03,
    "garment": 0.05,
}
_CROWD_WEIGHTS: Final = {"ccp": 0.8, "person": 0.1, "pedestrian": 0.1}
_STILL_LIFE_WEIGHTS: Final = {"plain_ground": 0.4, "object": 0.35, "dali_pixelwise": 0.1, "garment": 0.15}
_GROUND_WEIGHTS: Final = {"street": 0.4, "background": 0.6}
_SHARE_PASTED: Final = 0.3
_SHARE_CROWD: Final = 0.07
_SHARE_STILL_LIFE: Final = 0.1
_SHARE_NEGATIVE: Final = 0.05
_SHARE_HOLDING: Final = 0.12
_SHARE_BLACK: Final = 0.35
_SHARE_DRAPED: Final = 0.1
_SHARE_CLOSE: Final = 0.3
_SHARE_WHOLE: Final = 0.4
_SKIN_UNKNOWN: Final = frozenset({"portrait", "person", "group", "object", "pedestrian"})
_STANDING: Final = frozenset({"ccp", "pedestrian"})
_SMALL_SIDE: Final = 128


_NO_SUBJECT: Final = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)


class Augmenter:
    """Makes batches from pictures; owns the random generator, so a seed gives the same batches."""

    def __init__(self, pictures: Pictures, generator: torch.Generator) -> None:
        self.generator = generator
        sees_skin = torch.tensor([255 * (group not in _SKIN_UNKNOWN) for group in pictures.groups]).to(torch.uint8)
        known = sees_skin[:, None, None, None].expand(-1, 1, *pictures.pixels.shape[2:])
        self.full = torch.cat([torch.from_numpy(pictures.pixels), known], 1)
        small = (_SMALL_SIDE, _SMALL_SIDE)
        parts = [functional.interpolate(part.float(), small, mode="area") for part in torch.split(self.full, 64)]
        self.small = torch.cat(parts).round().to(torch.uint8)
        self.boxes, self.heads = outlines(self.small[:, 3])
        self.is_person = torch.tensor([group in _STANDING for group in pictures.groups])
        self.subject_weights = weights(pictures.groups, _GROUP_WEIGHTS)
        self.ground_weights = weights(pictures.groups, _GROUND_WEIGHTS)
        self.crowd_weights = weights(pictures.groups, _CROWD_WEIGHTS)
        self.still_life_weights = weights(pictures.groups, _STILL_LIFE_WEIGHTS)

    def batch(self, count: int, side: int) -> tuple[Tensor, Tensor]:
        """Return photographs uint8 (count, 3, side, side) and soft masks uint8 (count, 3, side, side).

        The masks are subject, skin, and where skin is known: outlined people have no skin labels.
        """
        ends = np.cumsum([_SHARE_PASTED, _SHARE_CROWD, _SHARE_STILL_LIFE, _SHARE_NEGATIVE]).tolist()
        kind = self._uniform(count)
        on_ground, pasted = kind < ends[3], kind < ends[0]
        crowd, still_life = (kind >= ends[0]) & (kind < ends[1]), (kind >= ends[1]) & (kind < ends[2])
        chosen = torch.where(on_ground, self._pick(self.ground_weights, count), self._pick(self.subject_weights, count))
        layers = self._sample(chosen, self._crop(chosen), side, "reflection")
        layers[:, :3] = jitter_colour(layers[:, :3], self.generator)
        self._defocus(layers, on_ground & (self._uniform(count) < 0.4))
        self._add_shapes(layers, self._uniform(count) < torch.where(on_ground, 0.4, 0.12))
        self._hang(layers, self._uniform(count) < _SHARE_DRAPED)
        self._add_table(layers, still_life)
        self._paste_row(layers, crowd, self.crowd_weights, (0.5, 1.7))
        self._paste_row(layers, still_life, self.still_life_weights, (0.25, 0.7))
        again = self._uniform(count)
        self._paste(layers, pasted | (~on_ground & (again > 0.93)))
        self._paste(layers, pasted & (again < 0.3))
        self._paste(layers, pasted & (again < 0.12))
        self._hold(layers, ~crowd & ~still_life & (self._uniform(count) < _SHARE_HOLDING))
        layers[:, :3] = degrade(layers[:, :3], self.generator)
        whole = (layers * 255).round().clamp(0, 255).to(torch.uint8)
        return whole[:, :3].contiguous(), whole[:, 3:].contiguous()

    def _uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator)

    def _normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=self.generator)

    def _pick(self, chances: Tensor, count: int) -> Tensor:
        return torch.multinomial(chances, count, replacement=True, generator=self.generator)

    def _crop(self, chosen: Tensor) -> View:
        """Return a window of each picture: often heads of people, and close-ups of anything's middle."""
        count = len(chosen)
        half = self._uniform(count, low=0.4, high=1.12)[:, None] * self._aspect(count, 0.3)
        half = torch.where(self._uniform(count, 1) < _SHARE_WHOLE, 1.0, half)
        centre = self._uniform(count, 2, low=-1, high=1) * (1.05 - half).clamp_min(0)
        low, high = self.boxes[chosen, :2], self.boxes[chosen, 2:]
        near = (high - low) / 2 * self._uniform(count, 1, low=0.4, high=0.95) * self._aspect(count, 0.3)
        inside = (low + high) / 2 + self._normal(count, 2, scale=0.25) * (high - low) / 2
        close = ((self._uniform(count) < _SHARE_CLOSE) & ~self.is_person[chosen] & (near.amin(1) > 0.1))[:, None]
        centre, half = torch.where(close, inside, centre), torch.where(close, near, half)
        portrait = self.is_person[chosen] & (self._uniform(count) < 0.28)
        return self._view(*self._portraits(chosen, portrait, centre, half))

    def _portraits(self, chosen: Tensor, where: Tensor, centre: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
        """Replace centre and half size (batch, 2) by a window around the head in the rows `where`.

        The closest hold less than a face, the widest head and chest.
        """
        count = len(chosen)
        height = (self.boxes[chosen, 3] - self.boxes[chosen, 1])[:, None]
        share = torch.exp(self._uniform(count, 1, low=math.log(0.065), high=math.log(0.42)))
        size = height * share * self._aspect(count, 0.3)
        size[:, 0] *= 1.2
        aside = self._normal(count, 1, scale=0.25) * size[:, :1]
        below = self._uniform(count, 1, low=0.45, high=0.9) * size[:, 1:]
        middle = self.heads[chosen] + torch.cat([aside, below], 1)
        return torch.where(where[:, None], middle, centre), torch.where(where[:, None], size, half)

    def _aspect(self, count: int, spread: float) -> Tensor:
        """Return factors (count, 2) for width and height whose product is one."""
        width = torch.exp(self._uniform(count, low=-spread, high=spread) / 2)
        return torch.stack([width, 1 / width], 1)

    def _view(self, centre: Tensor, half: Tensor) -> View:
        """Return the window of that centre and half size (batch, 2), turned a little and mirrored at random."""
        count = len(centre)
        wide = torch.where(self._uniform(count) < 0.12, 24.0, 5.0)
        angle = self._normal(count) * wide * math.pi / 180
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(count, 2, 2)
        mirror = torch.where(self._uniform(count, 1) < 0.5, -1.0, 1.0)
        turn = turn * torch.cat([mirror, torch.ones(count, 1)], 1)[:, None]
        return View(half[:, :, None] * turn, centre)

    def _placed(self, chosen: Tensor) -> View:
        """Return views that put cut-outs of all sizes anywhere, or the head and shoulders of people."""
        count = len(chosen)
        low, high = self.boxes[chosen, :2], self.boxes[chosen, 2:]
        middle, extent = (low + high) / 2, ((high - low) / 2).clamp_min(0.02)
        height = torch.exp(self._uniform(count, low=math.log(0.22), high=math.log(1.3)))
        width = height * extent[:, 0] / extent[:, 1] * torch.exp(self._uniform(count, low=-0.8, high=0.3))
        seen = torch.stack([width, height], 1)
        place = self._uniform(count, 2, low=-1, high=1) * (1.1 - 0.6 * seen).clamp_min(0.25)
        body = self._view(middle, extent / seen)
        moved = middle - (body.matrix @ place[:, :, None])[:, :, 0]
        portrait = self.is_person[chosen] & (self._uniform(count) < 0.3)
        head = self._view(*self._portraits(chosen, portrait, middle, extent))
        return View(
            torch.where(portrait[:, None, None], head.matrix, body.matrix),
            torch.where(portrait[:, None], head.offset, moved),
        )

    def _sample(self, chosen: Tensor, view: View, side: int, padding: str) -> Tensor:
        """Return what the views show, float32 (batch, 6, side, side) in 0..1, from the level of fitting detail."""
        theta = torch.cat([view.matrix, view.offset[:, :, None]], 2)
        grid = functional.affine_grid(theta, [len(chosen), 6, side, side], align_corners=False)
        shrink = view.matrix.norm(dim=2).amax(1) * self.full.shape[3] / side
        seen = torch.empty(len(chosen), 6, side, side)
        for level, rows in ((self.full, shrink <= 1.8), (self.small, shrink > 1.8)):
            if rows.any():
                pixels = level[chosen[rows]].float()
                seen[rows] = functional.grid_sample(pixels, grid[rows], padding_mode=padding, align_corners=False)
        return seen / 255

    def _defocus(self, layers: Tensor, where: Tensor) -> None:
        """Blur the backgrounds in the rows `where`, as behind a portrait."""
        if where.any():
            side = layers.shape[3]
            coarse = functional.interpolate(layers[where, :3], (side // 8, side // 8), mode="area")
            smooth = functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)
            layers[where, :3] = smooth.clamp(0, 1)

    def _add_shapes(self, layers: Tensor, where: Tensor) -> None:
        """Lay shapes with the texture of some background over the rows `where`; they are no subject."""
        count, side = int(where.sum()), layers.shape[3]
        if not count:
            return
        cells = int(torch.randint(3, 8, (1,), generator=self.generator))
        noise = self._normal(count, 1, cells, cells)
        noise = functional.interpolate(noise, (side, side), mode="bicubic", align_corners=False)
        sharpness = self._uniform(count, 1, 1, 1, low=8, high=60)
        cover = torch.sigmoid((noise - self._uniform(count, 1, 1, 1, low=0.6, high=1.4)) * sharpness)
        chosen = self._pick(self.ground_weights, count)
        half = self._uniform(count, 2, low=0.15, high=0.8)
        view = self._view(self._uniform(count, 2, low=-0.4, high=0.4), half)
        texture = self._sample(chosen, view, side, "reflection")[:, :3]
        lay_over(layers, where, jitter_colour(texture, self.generator), cover, _NO_SUBJECT.expand(count, -1, -1, -1))

    def _hang(self, layers: Tensor, where: Tensor) -> None:
        """Hang striped cloth behind the subjects in the rows `where`."""
        count = int(where.sum())
        if count:
            colours, cover = drapes(count, layers.shape[3], self.generator)
            cover = cover * (1 - layers[where, 3:4])
            lay_over(layers, where, colours, cover, _NO_SUBJECT.expand(count, -1, -1, -1))

    def _add_table(self, layers: Tensor, where: Tensor) -> None:
        """Lay the texture of some background over the lower part of the rows `where`, like a table before a wall."""
        count, side = int(where.sum()), layers.shape[3]
        if not count:
            return
        height = torch.linspace(-1, 1, side)[:, None].expand(side, side)
        cover = torch.sigmoid((height - self._uniform(count, 1, 1, 1, low=-0.9, high=0.6)) * 60)
        half = self._uniform(count, 2, low=0.1, high=0.5)
        view = self._view(self._uniform(count, 2, low=-0.4, high=0.4), half)
        texture = self._sample(self._pick(self.ground_weights, count), view, side, "reflection")[:, :3]
        lay_over(layers, where, jitter_colour(texture, self.generator), cover, _NO_SUBJECT.expand(count, -1, -1, -1))

    def _paste(self, layers: Tensor, where: Tensor) -> None:
        """Lay one subject's cut-out over each of the rows `where`."""
        count = int(where.sum())
        if count:
            chosen = self._pick(self.subject_weights, count)
            self._lay_cut(layers, where, chosen, self._placed(chosen))

    def _hold(self, layers: Tensor, where: Tensor) -> None:
        """Lay a thing, often a black one, over the edge of the subject in each of the rows `where` that show one."""
        edge = edge_cells(layers[:, 3:4])
        where = where & (edge.amax(1) > 0)
        count = int(where.sum())
        if not count:
            return
        chosen = self._pick(self.still_life_weights, count)
        low, high = self.boxes[chosen, :2], self.boxes[chosen, 2:]
        place = cell_centres(self._pick(edge[where], 1)[:, 0])
        length = torch.exp(self._uniform(count, 1, low=math.log(0.12), high=math.log(0.5)))
        extent = ((high - low) / 2).clamp_min(0.02)
        seen = length * (extent / extent.amax(1, keepdim=True)).clamp_min(0.25) * self._aspect(count, 0.3)
        body = self._view((low + high) / 2, extent / seen)
        offset = (low + high) / 2 - (body.matrix @ place[:, :, None])[:, :, 0]
        gain = torch.where(self._uniform(count) < _SHARE_BLACK, self._uniform(count, low=0.05, high=0.35), 1.0)
        self._lay_cut(layers, where, chosen, View(body.matrix, offset), gain[:, None, None, None])

    def _paste_row(self, layers: Tensor, where: Tensor, chances: Tensor, heights: tuple[float, float]) -> None:
        """Lay two to four cut-outs of like height side by side, overlapping, over the rows `where`.

        heights: the range of half heights; those over one reach below the picture.
        """
        rows = torch.where(where)[0]
        wanted = torch.randint(2, 5, (len(rows),), generator=self.generator)
        common = self._uniform(len(rows), low=heights[0], high=heights[1])
        middle = self._uniform(len(rows), low=-0.25, high=0.25)
        top = self._uniform(len(rows), low=-0.75, high=0.75) * (1 - common).abs() - 0.1
        for slot in range(4):
            now = wanted > slot
            if not now.any():
                return
            chosen = self._pick(chances, int(now.sum()))
            low, high = self.boxes[chosen, :2], self.boxes[chosen, 2:]
            extent = ((high - low) / 2).clamp_min(0.02)
            height = common[now] * self._uniform(len(chosen), low=0.85, high=1.15)
            width = height * extent[:, 0] / extent[:, 1] * self._uniform(len(chosen), low=0.9, high=1.5)
            spread = torch.maximum(width * 1.3, torch.full_like(width, 0.35))
            across = middle[now] + (slot - (wanted[now] - 1) / 2) * spread
            down = torch.where(common[now] > 0.9, height - 0.85, top[now]) + self._normal(len(chosen), scale=0.04)
            body = self._view((low + high) / 2, extent / torch.stack([width, height], 1))
            place = torch.stack([across, down], 1)
            offset = (low + high) / 2 - (body.matrix @ place[:, :, None])[:, :, 0]
            seen = torch.zeros_like(where)
            seen[rows[now]] = True
            self._lay_cut(layers, seen, chosen, View(body.matrix, offset))

    def _lay_cut(
        self, layers: Tensor, where: Tensor, chosen: Tensor, view: View, gain: Tensor | float = 1.0
    ) -> None:
        """Lay the cut-outs that the views show over the rows `where`, with their light multiplied by `gain`."""
        cut = self._sample(chosen, view, layers.shape[3], "zeros")
        cover = cut[:, 3:4]
        skin = (cut[:, 4:5] / cover.clamp_min(0.05)).clamp(0, 1)
        known = (self.full[chosen, 5, 0, 0].float() / 255)[:, None, None, None].expand_as(cover)
        own_masks = torch.cat([torch.ones_like(cover), skin, known], 1)
        lay_over(layers, where, jitter_colour(cut[:, :3], self.generator) * gain, cover, own_masks)
