"""Operations on the whole canvas, the cutting into tiles, and mending tile by tile."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime import canvas
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.plan import Edit
from edge_runtime.restoration import Mending, mended, mended_inside
from edge_runtime.tiles import strips, tiles

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

SETTINGS = Artifact.open(EMBEDDED, verify=False).manifest.settings
SHARES, MENDING = canvas.Shares(**SETTINGS["canvas"]), Mending(**SETTINGS["restoration"])


@pytest.fixture
def picture() -> Pixels:
    """40 x 60, every pixel different, opaque."""
    y, x = np.mgrid[:40, :60]
    return np.stack([x * 4, y * 6, (x + y) * 2, np.full_like(x, 255)], -1).astype(np.uint8)


def finished(steps: Generator[float, None, Pixels]) -> tuple[list[float], Pixels]:
    shares = []
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as end:
            return shares, end.value


@pytest.mark.parametrize(("amount", "corner"), [(0.5, (0, 39)), (-0.5, (59, 0)), (1.0, (39, 59)), (-1.0, (39, 59))])
def test_turning_moves_the_first_pixel_clockwise(picture: Pixels, amount: float, corner: tuple[int, int]) -> None:
    turned = canvas.turn(picture, amount)
    assert turned.shape[:2] == ((60, 40) if abs(amount) == 0.5 else (40, 60))
    assert (turned[corner] == picture[0, 0]).all()


def test_mirrors(picture: Pixels) -> None:
    assert (canvas.mirror(picture, horizontal=True)[3, 0] == picture[3, -1]).all()
    assert (canvas.mirror(picture, horizontal=False)[0, 5] == picture[-1, 5]).all()


def test_cropping_keeps_the_middle_and_never_everything_away(picture: Pixels) -> None:
    cropped = canvas.crop_middle(picture, 0.4)
    assert cropped.shape == (32, 48, 4) and (cropped[0, 0] == picture[4, 6]).all()
    assert canvas.crop_middle(picture[:1, :2], 1.0).shape == (1, 2, 4)


def test_cropping_around_a_mask_of_another_size(picture: Pixels) -> None:
    mask = np.zeros((4, 6), np.float32)
    mask[1:3, 2:4] = 1.0
    tight = canvas.crop_around(picture, mask, 1.0, SHARES)
    assert tight is not None and tight.shape == (20, 20, 4) and (tight[0, 0] == picture[10, 20]).all()
    loose = canvas.crop_around(picture, mask, 0.0, SHARES)
    assert loose is not None and loose.shape[0] > 30
    assert canvas.crop_around(picture, 0 * mask, 0.5, SHARES) is None


def test_a_frame_covers_the_edge_alone(picture: Pixels) -> None:
    framed = canvas.frame(picture, 1.0, "#ff8000", SHARES)
    assert (framed[:3] == (255, 128, 0, 255)).all() and (framed[:, -3:] == (255, 128, 0, 255)).all()
    assert (framed[3:-3, 3:-3] == picture[3:-3, 3:-3]).all()


def test_pixelating_hides_detail_and_keeps_the_mean(picture: Pixels) -> None:
    blocks = canvas.pixelate(picture, 1.0, SHARES)
    assert blocks.shape == picture.shape
    assert len(np.unique(blocks.reshape(-1, 4), axis=0)) < 300
    assert np.abs(blocks.astype(float).mean((0, 1)) - picture.mean((0, 1))).max() < 3
    mask = np.zeros((40, 60), np.float32)
    mask[:, :30] = 1.0
    half = canvas.pixelate(picture, 1.0, SHARES, mask)
    assert (half[:, 33:] == picture[:, 33:]).all() and (half[:, :27] == blocks[:, :27]).all()


def test_enlarging_twice_keeps_what_was_there(picture: Pixels) -> None:
    large = canvas.enlarge(picture)
    assert large.shape == (80, 120, 4)
    back = large.reshape(40, 2, 60, 2, 4).mean((1, 3))
    assert np.abs(back[4:-4, 4:-4] - picture[4:-4, 4:-4]).max() < 3


def test_blending_follows_the_mask(picture: Pixels) -> None:
    white = np.full_like(picture, 255)
    mask = np.zeros((40, 60), np.float32)
    mask[:20] = 1.0
    mixed = canvas.blend(picture, white, mask)
    assert (mixed[:20] == 255).all() and (mixed[20:] == picture[20:]).all()
    half = canvas.blend(picture, white, np.full((2, 2), 0.5, np.float32))
    assert np.abs(half.astype(int) - (picture.astype(int) + 255) / 2).max() <= 0.5


def test_the_order_on_the_canvas_is_fixed(picture: Pixels) -> None:
    edits = [
        Edit(adjust="frame", amount=1.0, color="#000000"),
        Edit(adjust="rotate", amount=0.5),
        Edit(adjust="crop", amount=0.4),
    ]
    first, second = (canvas.placed(picture, order, {}, SHARES) for order in (edits, edits[::-1]))
    assert (first == second).all() and first.shape == (48, 32, 4)
    assert (first[0] == (0, 0, 0, 255)).all(), "the frame comes last, so nothing cuts it away"


@pytest.mark.parametrize("size", [(1, 1), (40, 60), (100, 37), (64, 200)])
def test_tiles_cover_every_pixel_once(size: tuple[int, int]) -> None:
    kept = np.zeros(size, int)
    for tile in tiles(*size, side=32, halo=4, multiple=4):
        top, bottom, left, right = tile.kept
        kept[top:bottom, left:right] += 1
        above, below, before, after = tile.seen
        assert above % 4 == before % 4 == 0
        assert above <= top and before <= left and below >= bottom and after >= right
        assert below - above <= max(32, 0) or size[0] <= 32
        assert after - before <= 32 or size[1] <= 32
    assert (kept == 1).all()


def test_tiles_without_a_middle_are_refused() -> None:
    for side, halo, multiple in ((8, 4, 1), (40, 4, 16), (48, 8, 16)):
        with pytest.raises(ValueError, match="nothing between"):
            next(tiles(10, 10, side, halo, multiple))


def test_strips_end_where_layers_can_be_cut() -> None:
    found = strips(100, 50, 1000, 3)
    assert found[0][0] == 0 and found[-1][1] == 100
    assert all(top % 3 == 0 for top, _ in found)
    assert [top for top, _ in found[1:]] == [bottom for _, bottom in found[:-1]]


def test_mending_shows_the_graph_whole_tiles_and_every_pixel_once() -> None:
    small = replace(MENDING, tile_pixels=96, halo_pixels=16)
    photo = np.random.default_rng(0).integers(0, 255, (130, 170, 4), np.uint8)
    seen: list[tuple[int, ...]] = []

    def graph(image: Pixels, hole: Floats) -> Pixels:
        seen.append(image.shape)
        assert image.shape[0] % small.multiple == image.shape[1] % small.multiple == 0 and hole.shape == image.shape[:2]
        return 255 - image

    shares, result = finished(mended(photo, graph, small))
    assert len(seen) == len(shares) > 4 and shares == sorted(shares) and shares[-1] < 1
    assert (result == 255 - photo).all()


@pytest.mark.parametrize("thickness", [8, 60])
def test_a_hole_is_filled_from_around_and_nothing_else_changes(thickness: int) -> None:
    """The graph fills holes with the mean of what it may see; a thick hole is seen on a reduced copy."""
    photo = np.full((200, 260, 4), (90, 120, 30, 255), np.uint8)
    mask = np.zeros((200, 260), np.float32)
    mask[70 : 70 + thickness, 100 : 100 + thickness] = 1.0
    photo[mask > 0] = (255, 0, 255, 255)
    sizes = []

    def graph(image: Pixels, hole: Floats) -> Pixels:
        sizes.append(image.shape[:2])
        known = image[hole < 0.5].reshape(-1, 4).mean(0)
        return np.where(hole[..., None] > 0.5, known, image).astype(np.uint8)

    _, result = finished(mended_inside(photo, graph, MENDING, mask, fill=1.0))
    assert np.abs(result[mask > 0].astype(int) - (90, 120, 30, 255)).max() <= 4
    assert (result[mask == 0] == photo[mask == 0]).all()
    assert max(sizes[0]) < 200, "only the box around the hole is looked at"


def test_mending_inside_a_mask_without_filling_blends(picture: Pixels) -> None:
    mask = np.zeros((40, 60), np.float32)
    mask[10:20, 10:20] = 1.0

    def graph(image: Pixels, hole: Floats) -> Pixels:
        return 255 - image + 0 * hole.astype(np.uint8)[..., None]

    _, result = finished(mended_inside(picture, graph, MENDING, mask, fill=0.0))
    assert (result[12:18, 12:18] == 255 - picture[12:18, 12:18]).all()
    assert (result[mask == 0] == picture[mask == 0]).all()
