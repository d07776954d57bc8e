"""The renderer against the definitions in float64, on photographs that nothing was trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data, metrics

from converters.nano_banana import definitions
from converters.nano_banana.render import Context, Render
from converters.nano_banana.vocabulary import indices, vocabulary

EXACT_DB = 50.0
"""Tone and colour: only the rounding to 8 bits may differ (58.9 dB for a uniform error)."""

LARGE_BLUR_DB = {"blur": 38.0, "clarity": 44.0, "glow": 44.0, "dehaze": 33.0}
"""Blurs run on a reduced copy; the definition runs over the true pixels."""


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.asarray(Image.fromarray(data.coffee()).resize((450, 300)))


def rendered(photo: np.ndarray, *rows: dict[str, float], mask: np.ndarray | None = None) -> np.ndarray:
    """Render with one dict of amounts per region row; returns uint8 (h, w, 4)."""
    amounts = torch.zeros(len(rows), len(indices()))
    for row, edits in enumerate(rows):
        for name, amount in edits.items():
            amounts[row, indices()[name]] = amount
    small = np.asarray(Image.fromarray(photo).reduce(2))
    subject = torch.ones(1, 1, 256, 256) if mask is None else torch.tensor(mask)[None, None]
    rgba = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    with torch.no_grad():
        layers, matte = Context()(torch.tensor(small)[None], subject, amounts)
        window = torch.tensor([0.0, 0.0, *photo.shape[:2]])
        edited = Render()(torch.tensor(rgba)[None], layers, matte, amounts, torch.ones(len(rows), 3), window)
    return edited[0].numpy()


def psnr(reference: np.ndarray, image: np.ndarray) -> float:
    if np.allclose(reference, image):
        return 120.0
    return float(metrics.peak_signal_noise_ratio(reference, image, data_range=1.0))


def amounts_to_try(name: str) -> list[float]:
    return [-1.0, -0.3, 0.3, 1.0] if vocabulary().adjustment(name).low < 0 else [0.1, 0.5, 1.0]


DEFINED = [name for stage in definitions.STAGES for name in stage]


@pytest.mark.parametrize("name", DEFINED)
def test_each_adjustment_follows_its_definition(photo: np.ndarray, name: str) -> None:
    for amount in amounts_to_try(name):
        expected = definitions.apply(photo / 255.0, {name: amount})
        edited = rendered(photo, {name: amount})[..., :3] / 255.0
        assert psnr(expected, edited) >= LARGE_BLUR_DB.get(name, EXACT_DB), (name, amount)


def test_every_adjustment_has_a_definition() -> None:
    without = {"grain", "remove", "fill"}  # noise and opacity, tested below
    assert {*DEFINED} | without == set(indices())


def test_combined_tone_and_colour(photo: np.ndarray) -> None:
    plan = {"exposure": 0.3, "contrast": 0.6, "warmth": -0.7, "tint": 0.4, "shadows": 0.5, "vibrance": 0.5,
            "saturation": -0.2, "teal_orange": 0.5, "fade": 0.3, "vignette": 0.5}
    expected = definitions.apply(photo / 255.0, plan)
    assert psnr(expected, rendered(photo, plan)[..., :3] / 255.0) >= EXACT_DB


def test_an_empty_plan_changes_nothing(photo: np.ndarray) -> None:
    assert np.abs(rendered(photo, {})[..., :3].astype(int) - photo).max() <= 1


def test_regions_blend_by_the_mask(photo: np.ndarray) -> None:
    mask = np.zeros((256, 256), np.float32)
    mask[:, :128] = 1.0
    edited = rendered(photo, {}, {"black_and_white": 1.0}, mask=mask)
    assert np.abs(edited[:, :200, :3].astype(int) - photo[:, :200]).max() <= 1
    assert np.ptp(edited[:, 250:, :3].astype(int), axis=-1).max() <= 1


def test_remove_makes_the_background_transparent_and_keeps_the_subject(photo: np.ndarray) -> None:
    mask = np.zeros((256, 256), np.float32)
    mask[:, :128] = 1.0
    edited = rendered(photo, {}, {"remove": 1.0}, mask=mask)
    assert (edited[:, :200, 3] == 255).all()
    assert (edited[:, 250:, 3] == 0).all()
    assert np.abs(edited[:, :200, :3].astype(int) - photo[:, :200]).max() <= 1


def test_fill_replaces_the_background_by_the_colour(photo: np.ndarray) -> None:
    mask = np.zeros((256, 256), np.float32)
    edited = rendered(photo, {}, {"fill": 1.0}, mask=mask)
    assert (edited[..., :3] == 255).all()


def test_grain_is_repeatable_noise_of_the_stated_strength(photo: np.ndarray) -> None:
    grey = np.full_like(photo, 128)
    edited = rendered(grey, {"grain": 0.5})[..., :3] / 255.0
    assert 0.05 < edited.std() < 0.07
    assert np.ptp(edited, axis=-1).max() == 0
    assert (edited == rendered(grey, {"grain": 0.5})[..., :3] / 255.0).all()


def test_background_blur_does_not_smear_the_subject_into_the_background() -> None:
    photo = np.zeros((200, 300, 3), np.uint8)
    photo[:, 150:] = 255
    mask = np.zeros((256, 256), np.float32)
    mask[:, 128:] = 1.0
    edited = rendered(photo, {}, {"blur": 1.0}, mask=mask)
    assert edited[:, :135, :3].max() <= 8


def test_render_is_differentiable() -> None:
    amounts = torch.zeros(1, len(indices()), requires_grad=True)
    toned = Render()._color(torch.rand(1, 3, 24, 24), amounts).sum()
    toned.backward()
    assert amounts.grad is not None and amounts.grad[0, indices()["saturation"]] != 0
