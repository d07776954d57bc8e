"""Which photographs there are, which are held out, and where their masks come from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from photo_stand_ins import SIDE, disc, picture
from PIL import Image

from converters.nano_banana import pseudo_labels
from converters.nano_banana.outlines import HELD_OUT_OF_KIND, drawn, outlined, split_outlined
from converters.nano_banana.photos import (
    Labelled,
    beside_the_subject,
    cut_from_plain_ground,
    decode,
    held_out_pictures,
    intersection_over_union,
    listed,
    split,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with seg/ccp: eight photographs, their masks and labels; the last is a mirrored first."""
    for kind in ("images", "masks", "labels"):
        (tmp_path / "seg" / "ccp" / kind).mkdir(parents=True)
    random = np.random.default_rng(0)
    coarse = [Image.fromarray(random.integers(0, 255, (6, 4, 3), np.uint8)) for _ in range(7)]
    photos = [np.asarray(image.resize((60, 90))) for image in coarse]
    for index, photo in enumerate([*photos, photos[0][:, ::-1]]):
        seg, name = tmp_path / "seg" / "ccp", f"{index:04}"
        Image.fromarray(photo).save(seg / "images" / f"{name}.jpg", quality=95)
        Image.fromarray(np.full((90, 60), 255, np.uint8)).save(seg / "masks" / f"{name}.png")
        Image.fromarray(np.full((90, 60), 41, np.uint8)).save(seg / "labels" / f"{name}.png")
    return tmp_path


def test_split_depends_on_names_and_drops_look_alikes(folder: Path) -> None:
    items = listed(folder, "ccp")
    training, held_out = split(items, 3)
    assert split(items[::-1], 3)[1] == held_out and len(held_out) == 3
    assert not {item.photo.name for item in training} & {item.photo.name for item in held_out}
    _, everyone = split(items, len(items))
    first = next(rank for rank, item in enumerate(everyone, 1) if item.photo.stem in ("0000", "0007"))
    training, held_out = split(items, first)
    assert not {"0000", "0007"} & {item.photo.stem for item in training}
    assert len(training) + len(held_out) == len(items) - 1


def test_decoded_planes_hold_mask_and_skin(folder: Path) -> None:
    planes = decode(listed(folder, "ccp")[0], 64)
    assert planes.shape == (5, 64, 64) and planes.dtype == np.uint8
    assert planes[3:].min() == 255
    assert [planes.shape for _, planes in held_out_pictures(folder, "ccp", 32)] == 8 * [(5, 32, 32)]


def test_thing_on_a_plain_ground_is_cut_out(tmp_path: Path) -> None:
    photo = np.full((200, 150, 3), 225.0) - np.linspace(0, 30, 150)[:, None]
    truth = np.asarray(Image.fromarray(disc(256, 0.5, 0.45, 0.25)).resize((150, 200)))
    photo[truth] = (60, 90, 160)
    Image.fromarray(photo.astype(np.uint8)).save(tmp_path / "thing.png")
    mask = decode(Labelled("plain_ground", tmp_path / "thing.png"), 256)[3]
    assert intersection_over_union(mask > 127, disc(256, 0.5, 0.45, 0.25)) > 0.9
    assert cut_from_plain_ground(tmp_path / "thing.png").shape == (256, 256)


def test_street_beside_the_subject_has_no_mask() -> None:
    planes = picture(0)
    planes[3:] = 0
    planes[3, :, : SIDE // 3] = 255
    street = beside_the_subject(planes)
    assert street is not None and street.shape == planes.shape and not street[3:].any()
    planes[3] = 255
    assert beside_the_subject(planes) is None


def test_drawn_outlines_are_soft_and_leave_holes() -> None:
    square, hole = (100, 100, 900, 100, 900, 900, 100, 900), (400, 400, 600, 400, 600, 600, 400, 600)
    mask = drawn((square, hole), 64)
    assert mask.shape == (64, 64) and mask.dtype == np.uint8
    assert mask[0, 0] == 0 and mask[16, 16] == 255 and mask[32, 32] == 0
    assert (mask > 127).mean() == pytest.approx(0.64 - 0.04, abs=0.03)


def test_held_out_outlines_cover_all_kinds_and_are_not_our_own_masks() -> None:
    training, held_out = split_outlined(outlined())
    assert Counter(item.kind for item in held_out) == HELD_OUT_OF_KIND
    assert not {item.name for item in training} & {item.name for item in held_out}
    assert not any(item.source in ("self", "mediapipe+self") for item in held_out)
    assert any(item.later for item in training) and not any(item.later for item in held_out)
    assert split_outlined(outlined()[::-1])[1] == held_out


def test_an_outlined_photograph_is_decoded_under_its_outline(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    _, held_out = split_outlined(outlined())
    vehicles = [item for item in held_out if item.kind == "vehicle"]
    for item in vehicles:
        Image.new("RGB", (90, 60), (10, 20, 30)).save(tmp_path / "photos" / f"{item.name}.jpg")
    found = dict(held_out_pictures(tmp_path, "vehicle", 48))
    assert set(found) == {f"{item.name}.jpg" for item in vehicles}
    for item in vehicles:
        assert np.array_equal(found[f"{item.name}.jpg"][3], drawn(item.polygons, 48))


def test_every_choice_by_eye_has_its_outline_and_says_where_it_comes_from() -> None:
    chosen = pseudo_labels.choices()
    assert {item.name: (item.kind, item.source) for item in outlined()} == {
        name: (choice.kind, choice.source) for name, choice in chosen.items()
    }


def test_a_choice_corrects_a_teacher_and_follows_the_photos_edges() -> None:
    truth = disc(256, 0.5, 0.5, 0.3)
    photo = np.where(truth[..., None], (200, 60, 40), (30, 80, 120)).astype(np.uint8)
    half = (0, 0, 500, 0, 500, 1000, 0, 1000)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([500 + 307 * np.cos(angles), 500 + 307 * np.sin(angles)], 1).astype(int).ravel().tolist()
    selfie, own = truth.astype(float), np.zeros((256, 256))
    cut = pseudo_labels.decided(pseudo_labels.Choice("object", "mediapipe", inside=(half,)), photo, selfie, own)
    assert np.array_equal(cut, truth & (drawn((half,), 256) > 127))
    by_hand = pseudo_labels.Choice("object", "hand", add=(tuple(circle),), band_pixels=6)
    mask = pseudo_labels.decided(by_hand, photo, own, own)
    assert intersection_over_union(mask, truth) > 0.98
    outline = tuple(map(tuple, pseudo_labels.polygons_of(mask)))
    assert intersection_over_union(drawn(outline, 256) > 127, mask) > 0.97


def test_tidied_masks_have_no_crumbs_or_pinholes() -> None:
    mask = disc(128, 0.5, 0.5, 0.3)
    spoiled = mask.copy()
    spoiled[2:4, 2:4], spoiled[60:62, 60:62] = True, False
    assert np.array_equal(pseudo_labels.tidied(spoiled), mask)
