"""Damage does what it says, and seeded crops repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from converters.nano_banana.damage import (
    MARGIN_PIXELS,
    add_noise,
    blur,
    compress,
    draw_strength,
    draw_tasks,
    enlarge_again,
    holes,
    quality_of,
    scratch,
    shake,
    sigma_of,
    spoil,
)
from converters.nano_banana.restoration import TASKS
from converters.nano_banana.restoration_crops import Crops, photographs
from converters.nano_banana.restoration_pairs import CONDITIONS, middle, psnr


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return data.astronaut()[100:228, 140:268]


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("sigma", [5.0, 25.0])
def test_noise_has_the_told_deviation(sigma: float) -> None:
    grey = np.full((128, 128, 3), 128, np.uint8)
    noise = add_noise(grey, sigma, random()).astype(float) - 128
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert abs(noise.mean()) < 0.1 * sigma
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.03


def test_strengths_mean_sigma_and_quality() -> None:
    assert sigma_of(0.5) == 25
    assert (quality_of(0.0), quality_of(1.0)) == (90, 10)


def test_lower_quality_and_less_colour_lose_more(photo: np.ndarray) -> None:
    assert psnr(compress(photo, 10), photo) < psnr(compress(photo, 60), photo) - 3
    assert psnr(compress(photo, 30), photo) < psnr(compress(photo, 30, full_colour=True), photo)


@pytest.mark.parametrize("change", [lambda p: blur(p, 1.5), lambda p: shake(p, 7, 0.7), enlarge_again])
def test_smoothing_keeps_the_mean_and_loses_detail(photo: np.ndarray, change) -> None:
    changed = change(photo)
    assert changed.shape == photo.shape
    assert abs(changed.mean() - photo.mean()) < 1
    assert np.abs(np.diff(changed.astype(int), axis=1)).mean() < 0.9 * np.abs(np.diff(photo.astype(int), axis=1)).mean()


def test_shaking_is_along_the_line() -> None:
    point = np.zeros((33, 33, 3), np.uint8)
    point[16, 16] = 255
    along = shake(point, 9, 0.0)[..., 0] > 0
    assert along[16].sum() >= 8
    assert along.sum() == along[16].sum()


def test_scratches_change_part_of_the_photo_and_more_with_amount(photo: np.ndarray) -> None:
    def share(amount: float) -> float:
        return float(np.mean([(scratch(photo, amount, random(seed)) != photo).any(2).mean() for seed in range(8)]))

    assert 0 < share(0.1) < share(1.0) < 0.6


def test_holes_are_small() -> None:
    masks = np.stack([holes(96, 96, random(seed)) for seed in range(20)])
    assert set(np.unique(masks)) == {0, 255}
    assert 0.005 < (masks > 0).mean() < 0.25


def test_tasks_are_drawn_by_their_share() -> None:
    source = random()
    drawn = [draw_tasks(source) for _ in range(4000)]
    assert sum("denoise" in tasks for tasks in drawn) / 4000 == pytest.approx(0.52, abs=0.05)
    assert sum(not tasks for tasks in drawn) / 4000 == pytest.approx(0.05, abs=0.015)
    assert {task for tasks in drawn for task in tasks} == set(TASKS)
    assert max(len(tasks) for tasks in drawn) == 2


@pytest.mark.parametrize("task", TASKS)
def test_strengths_stay_in_range(task: str) -> None:
    drawn = [draw_strength(task, random(seed)) for seed in range(200)]
    assert 0 < min(drawn) <= max(drawn) <= 1


def test_spoiled_crops_are_told_what_was_done(photo: np.ndarray) -> None:
    source = random(3)
    for _ in range(60):
        damaged, told, clean = spoil(photo, source)
        side = photo.shape[0] - MARGIN_PIXELS
        assert damaged.shape == clean.shape == (side, side, 3)
        assert told.max() > 0
        assert told.max() <= 1
        if told[TASKS.index("denoise")] < 0.3 and not told[1:].any():
            assert psnr(damaged, clean) > 20


def test_the_same_seed_gives_the_same_batch(photo: np.ndarray) -> None:
    def batch(seed: int) -> list[np.ndarray]:
        return [part.numpy() for part in Crops([photo], [1.0], seed).batch(4, 64)]

    first, again, other = batch(1), batch(1), batch(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[2], other[2])
    assert [part.shape for part in first] == [(4, 3, 64, 64), (4, 5), (4, 3, 64, 64)]


def test_held_out_photographs_are_not_trained_on(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for seed in range(8):
        pixels = random(seed).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{'cloth' if seed < 2 else 'dali'}-{seed}.png")
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{'cloth' if seed < 2 else 'dali'}-{seed}.jpg")
    training, held_out = photographs(tmp_path)
    assert len(held_out) == 3
    assert not any(path.name.startswith("cloth") for path in held_out)
    assert set(training).isdisjoint(held_out)
    assert len(training) + len(held_out) == 8


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_are_tiles_with_told_strengths(name: str, photo: np.ndarray) -> None:
    clean = middle(photo, 70)
    assert clean.shape == (64, 64, 3)
    pair = CONDITIONS[name](clean, 0)
    assert pair.damaged.shape == pair.clean.shape
    assert 0 < pair.strengths.max() <= 1
    assert np.array_equal(pair.damaged, pair.clean) == name.startswith("clean")


def test_psnr_counts_only_the_holes() -> None:
    clean = np.zeros((16, 16, 3), np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[:4] = 255
    wrong = np.full_like(clean, 255)
    wrong[:4] = 25.5
    assert psnr(wrong, clean) < 2
    assert psnr(wrong, clean, mask) == pytest.approx(20.17, abs=0.1)
    assert psnr(clean, clean) == 80
