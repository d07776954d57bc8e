"""Batches of training pictures: repeatable, with masks that fit, and degraded as cameras do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from photo_stand_ins import some_pictures
from skimage import data

from converters.nano_banana.augmentation import Augmenter
from converters.nano_banana.degradation import degrade, jitter_colour
from converters.nano_banana.drapes import drapes
from converters.nano_banana.photos import Pictures


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return some_pictures()


def test_batches_are_the_same_for_a_seed_and_hold_all_masks(pictures: Pictures) -> None:
    first, second = (Augmenter(pictures, torch.Generator().manual_seed(3)).batch(16, 64) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    photos, masks = first
    assert photos.shape == (16, 3, 64, 64) and masks.shape == (16, 3, 64, 64)
    assert photos.dtype == masks.dtype == torch.uint8
    assert (masks[:, 0] > 127).float().mean() > 0.03 and masks[:, 1].any()
    assert (masks[:, 1].int() <= masks[:, 0].int() + 8).float().mean() > 0.99  # skin is part of the subject


def test_skin_is_unknown_on_portraits_and_known_on_streets(pictures: Pictures) -> None:
    masks = Augmenter(pictures, torch.Generator().manual_seed(0)).batch(48, 64)[1]
    assert (masks[:, 2] == 0).any() and (masks[:, 2] == 255).any()
    labelled = tuple("feral_cat" if group in ("portrait", "object") else group for group in pictures.groups)
    masks = Augmenter(replace(pictures, groups=labelled), torch.Generator().manual_seed(0)).batch(48, 64)[1]
    assert (masks[:, 2] > 250).all()


def test_rows_of_cut_outs_hold_several_subjects_side_by_side(pictures: Pictures) -> None:
    augmenter = Augmenter(pictures, torch.Generator().manual_seed(1))
    layers = torch.zeros(12, 6, 64, 64)
    where = torch.arange(12) < 8
    augmenter._paste_row(layers, where, augmenter.crowd_weights, (0.4, 0.5))
    widths = (layers[:, 3] > 0.5).any(1).sum(1)
    assert not widths[8:].any() and widths[:8].float().mean() > 32


def test_held_things_lie_over_the_edge_of_a_subject_and_belong_to_it(pictures: Pictures) -> None:
    augmenter = Augmenter(pictures, torch.Generator().manual_seed(2))
    layers = torch.zeros(12, 6, 64, 64)
    layers[:10, 3, 8:, 24:40] = 1
    before = layers.clone()
    augmenter._hold(layers, torch.arange(12) != 0)
    changed = (layers != before).flatten(2).any(2)
    assert not changed[[0, 10, 11]].any() and changed[1:10, 3].float().mean() > 0.8
    assert torch.equal(layers[:10, 3, 8:, 24:40], before[:10, 3, 8:, 24:40])


def test_cloth_hangs_behind_subjects_in_two_colours(pictures: Pictures) -> None:
    colours, cover = drapes(16, 64, torch.Generator().manual_seed(0))
    assert colours.shape == (16, 3, 64, 64) and cover.shape == (16, 1, 64, 64)
    assert colours.min() >= 0 and colours.max() <= 1 and 0.05 < cover.mean() < 0.5
    layers = torch.zeros(4, 6, 64, 64)
    layers[:, 3, :, 20:30] = 1
    Augmenter(pictures, torch.Generator().manual_seed(0))._hang(layers, torch.arange(4) < 2)
    assert not layers[2:, :3].any() and layers[:2, :3].flatten(1).any(1).all()
    assert not layers[:, :3, :, 20:30].any() and (layers[:, 3, :, 20:30] == 1).all()


def test_degraded_photographs_stay_in_range_and_recognisable() -> None:
    generator = torch.Generator().manual_seed(0)
    photo = torch.from_numpy(data.chelsea()[:256, :256].copy()).permute(2, 0, 1)[None] / 255
    for _ in range(5):
        spoiled = degrade(jitter_colour(photo.repeat(16, 1, 1, 1), generator), generator)
        assert spoiled.shape == (16, 3, 256, 256) and spoiled.min() >= 0 and spoiled.max() <= 1
        pairs = torch.stack([photo[0].mean(0).flatten(), spoiled[0].mean(0).flatten()])
        assert torch.corrcoef(pairs)[0, 1] > 0.5
