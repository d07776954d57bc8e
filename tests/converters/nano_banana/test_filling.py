"""Holes filled from around, without a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data

from converters.nano_banana.filling import Fill


def filled(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    image = np.dstack([photo, np.full(photo.shape[:2], 200, np.uint8)])
    with torch.inference_mode():
        result = Fill()(torch.from_numpy(image)[None], torch.from_numpy(mask)[None, None])[0].numpy()
    assert (result[..., 3] == 200).all()
    return result[..., :3]


def test_what_is_known_stays_and_a_hole_on_plain_ground_disappears() -> None:
    photo = np.full((96, 128, 3), (90, 120, 30), np.uint8)
    mask = np.zeros((96, 128), np.float32)
    mask[40:58, 50:70] = 1.0
    spoiled = photo.copy()
    spoiled[mask > 0] = (255, 0, 255)
    assert np.abs(filled(spoiled, mask).astype(int) - photo).max() <= 1


def test_what_lies_in_the_hole_is_never_seen() -> None:
    photo = np.asarray(data.coffee())[:160, :160].copy()
    mask = np.zeros((160, 160), np.float32)
    mask[30:45, 60:90] = 1.0
    other = photo.copy()
    other[mask > 0] = 7
    assert (filled(photo, mask) == filled(other, mask)).all()
    assert (filled(photo, mask)[mask == 0] == photo[mask == 0]).all()


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_small_holes_in_photographs_come_close(name: str) -> None:
    photo = np.asarray(getattr(data, name)())[:288, :288, :3].copy()
    random, mask = np.random.default_rng(0), np.zeros((288, 288), np.float32)
    for top, left in random.integers(0, 270, (10, 2)):
        mask[top : top + 10, left : left + 10] = 1.0
    error = (filled(photo, mask).astype(float) - photo)[mask > 0]
    assert 10 * np.log10(255**2 / (error**2).mean()) > 19


def test_nothing_known_is_no_division_by_zero() -> None:
    assert np.isfinite(filled(np.zeros((32, 32, 3), np.uint8), np.ones((32, 32), np.float32))).all()
