"""How both generations of Qwen's models that see pictures are fed: pixels as patches, positions of words and pictures.

Qwen2.5-VL (https://arxiv.org/abs/2502.13923) looks at windows of patches; Qwen3-VL (https://arxiv.org/abs/2511.21631)
has a learned table of positions. Words and pictures share rotary positions of three axes: time, row, column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.diffusion.rotary import frequencies, halves
from edge_runtime.diffusion.settings import Settings
from edge_runtime.diffusion.tokens import MASKED, causal_bias
from edge_runtime.errors import InstructionError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """A picture as the vision encoder takes it.

    `values` float32 (rows * columns, features); patches that become one token stand together, `merge` x `merge`.
    """

    values: Floats
    rows: int
    columns: int
    merge: int

    @property
    def tokens(self) -> tuple[int, int]:
        """Return rows and columns of tokens."""
        return self.rows // self.merge, self.columns // self.merge


def patches(picture: Image.Image, vision: Settings) -> Patches:
    """Cut an RGB picture into normalised patches, resized to whole tokens where needed (bicubic)."""
    side, merge, frames = vision.whole("patch"), vision.whole("merge"), vision.whole("temporal_patch")
    width, height = picture.size
    if "least_pixels" in vision:
        width, height = bounded(
            width, height, side * merge, vision.whole("least_pixels"), vision.whole("most_pixels")
        )
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    mean, std = (np.array(vision.numbers(name, 3), np.float64) for name in ("mean", "std"))
    # in the order of the original: scaled to 0..1 in double precision, then normalised
    values = ((np.asarray(picture, np.float64) / 255.0).astype(np.float32) - mean.astype(np.float32)) / std.astype(
        np.float32
    )
    rows, columns = height // side, width // side
    cut = values.reshape(rows // merge, merge, side, columns // merge, merge, side, 3)
    cut = cut.transpose(0, 3, 1, 4, 6, 2, 5)  # tokens, patches of a token, channels, then pixels
    flat = cut.reshape(rows * columns, 3, 1, side * side)
    repeated = np.repeat(flat, frames, axis=2)  # a still is a film whose frames are equal
    return Patches(
        values=np.ascontiguousarray(repeated.reshape(rows * columns, -1), np.float32),
        rows=rows, columns=columns, merge=merge,
    )


def bounded(width: int, height: int, unit: int, least: int, most: int) -> tuple[int, int]:
    """Return a size of multiples of `unit` with `least` to `most` pixels and about the same proportions."""
    wide, high = round(width / unit) * unit, round(height / unit) * unit
    if wide * high > most:
        scale = math.sqrt(width * height / most)
        return tuple(max(unit, math.floor(side / scale / unit) * unit) for side in (width, height))  # type: ignore[return-value]
    if wide * high < least:
        scale = math.sqrt(least / (width * height))
        return tuple(math.ceil(side * scale / unit) * unit for side in (width, height))  # type: ignore[return-value]
    return wide, high


def check_words(ids: Sequence[int], image_token: int) -> None:
    """Raise InstructionError for words that hold the sign of a picture: it would take a picture's place."""
    if image_token in ids:
        raise InstructionError(
            "the instruction holds the model's own sign for a picture", param="prompt",
            hint="name pictures in words: picture 1, picture 2",
        )


def with_pictures(ids: Sequence[int], image_token: int, grids: Sequence[tuple[int, int]]) -> list[int]:
    """Return ids in which every sign of a picture stands as often as the picture has tokens, in order."""
    sizes = iter(grids)
    return [one for token in ids for one in [token] * (math.prod(next(sizes)) if token == image_token else 1)]


def text_positions(is_image: NDArray[np.bool_], grids: Sequence[tuple[int, int]]) -> Ints:
    """Return time, row and column of every token, int64 (3, tokens), as the models were trained.

    `grids` are rows and columns of tokens of every picture; words go on behind the longer side of a picture.
    """
    places, token, place = [], 0, 0
    for rows, columns in (*grids, (0, 0)):
        words = int(is_image[token:].argmax()) if rows else len(is_image) - token
        places.append(np.tile(place + np.arange(words), (3, 1)))
        places.append(place + words + np.mgrid[:1, :rows, :columns].reshape(3, -1))
        token, place = token + words + rows * columns, place + words + max(rows, columns)
    return np.concatenate(places, axis=1)


def text_rotary(places: Ints, rotary: Settings) -> dict[str, Floats]:
    """Return the text encoder's tables for positions (3, tokens).

    A channel is turned by one of the axes: in blocks, or `interleaved`, time, row, column, time ...
    """
    sections = rotary.wholes("sections", 3)
    turning = frequencies(rotary.whole("width"), rotary.number("theta"))
    if rotary.flag("interleaved"):
        angles = places[0][:, None] * turning
        for axis in (1, 2):
            taken = slice(axis, 3 * sections[axis], 3)
            angles[:, taken] = places[axis][:, None] * turning[taken]
    else:
        angles = places[np.repeat(np.arange(3), sections)].T * turning
    cos, sin = halves(angles)
    return {"rotary_cos": cos, "rotary_sin": sin}


def text_inputs(ids: Sequence[int], image_token: int, places: Ints, rotary: Settings) -> dict[str, Any]:
    """Return the text encoder's inputs beside the pictures' tokens."""
    row = np.array([ids], np.int64)
    is_image = row == image_token
    return {
        "input_ids": row,
        "image_index": np.where(is_image, is_image.cumsum() - 1, -1),
        "attention_bias": causal_bias(len(ids)),
        **text_rotary(places, rotary),
    }


def whole_inputs(patched: Patches, vision: Settings) -> dict[str, Any]:
    """Return the inputs of Qwen3-VL's vision encoder: patches, and where they lie in its square of positions."""
    side = vision.whole("positions_per_side")
    row, column = _in_blocks(patched)
    y, x = row * (side - 1) / max(patched.rows - 1, 1), column * (side - 1) / max(patched.columns - 1, 1)
    index, weight = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            top, left = np.floor(y) + dy, np.floor(x) + dx
            index.append(np.minimum(top, side - 1) * side + np.minimum(left, side - 1))
            weight.append((1 - np.abs(y - top)) * (1 - np.abs(x - left)))
    rotary = vision.part("rotary")
    turning = frequencies(rotary.whole("width") // 2, rotary.number("theta"))
    cos, sin = halves(np.concatenate([place[:, None] * turning for place in (row, column)], axis=1))
    return {
        "patches": patched.values,
        "position_index": np.array(index, np.int64),
        "position_weight": np.array(weight, np.float32),
        "rotary_cos": cos,
        "rotary_sin": sin,
    }


def window_inputs(patched: Patches, vision: Settings) -> dict[str, Any]:
    """Return the inputs of Qwen2.5-VL's vision encoder: patches window by window, windows at the edge filled up."""
    side, merge = vision.whole("window"), patched.merge
    tokens = np.mgrid[: patched.tokens[0], : patched.tokens[1]].reshape(2, -1)
    corner = tokens // side
    order = np.lexsort((tokens[1], tokens[0], corner[1], corner[0]))  # tokens, window by window
    window = np.unique(corner[0] * patched.columns + corner[1], return_inverse=True)[1][order]
    slot = np.arange(len(order)) - np.searchsorted(window, window)
    slots = (window * side * side + slot)[:, None] * merge**2 + np.arange(merge**2)  # of every token's patches
    inside = np.stack(np.divmod(np.arange(merge**2), merge))
    places = merge * tokens[:, order, None] + inside[:, None]  # row and column of every patch
    rotary = vision.part("rotary")
    turning = frequencies(rotary.whole("width") // 2, rotary.number("theta"))
    cos, sin = halves(np.concatenate([place[..., None] * turning for place in places], axis=-1))
    count = int(window.max()) + 1
    source = order[:, None] * merge**2 + np.arange(merge**2)

    def filled(values: Floats) -> Floats:
        room = np.zeros((count * (side * merge) ** 2, values.shape[-1]), np.float32)
        room[slots] = values
        return room.reshape(count, -1, values.shape[-1])

    image_order = np.empty(len(order), np.int64)
    image_order[order] = window * side * side + slot
    there = filled(np.ones((*slots.shape, 1), np.float32))[..., 0]
    return {
        "patches": filled(patched.values[source]),
        "rotary_cos": filled(cos),
        "rotary_sin": filled(sin),
        "attention_bias": np.where(there > 0, 0, MASKED).astype(np.float32),
        "image_order": image_order,
    }


def _in_blocks(patched: Patches) -> tuple[Ints, Ints]:
    """Return row and column of every patch, in their order."""
    merge = patched.merge
    grid = np.mgrid[: patched.rows, : patched.columns]
    cut = grid.reshape(2, patched.rows // merge, merge, patched.columns // merge, merge)
    row, column = cut.transpose(0, 1, 3, 2, 4).reshape(2, -1)
    return row, column
