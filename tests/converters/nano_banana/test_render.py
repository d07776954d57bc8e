"""The renderer against the definitions in float64, on photographs that nothing was trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage import data, metrics

from converters.nano_banana import definitions
from converters.nano_banana.color import colored
from converters.nano_banana.context import LOCAL_ADJUSTMENTS, Context
from converters.nano_banana.mixing import with_mixes
from converters.nano_banana.render import FULL_ADJUSTMENTS, Render
from converters.nano_banana.vocabulary import indices, vocabulary

EXACT_DB = 50.0
"""Tone and colour: only the rounding to 8 bits may differ (58.9 dB for a uniform error)."""

REDUCED_DB = {
    "blur": 38.0,
    "clarity": 44.0,
    "glow": 44.0,
    "dehaze": 33.0,
    "tilt_shift": 40.0,
    "hdr": 40.0,
    "skin_smooth": 42.0,
    "sketch": 35.0,
}
"""Blurs run on a reduced copy; the definition runs over the true pixels."""

ELSEWHERE = {
    "auto_enhance",
    "auto_exposure",
    "auto_white_balance",
    "auto_contrast",
    "denoise",
    "deblock",
    "deblur",
    "repair",
    "inpaint",
    "upscale",
    "pixelate",
    "frame",
    "rotate",
    "flip_horizontal",
    "flip_vertical",
    "crop",
}
"""Adjustments that other networks and the runtime carry out."""

LOOKS = [adjustment.name for adjustment in vocabulary().adjustments if adjustment.mix and adjustment.name != "hdr"]


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.asarray(Image.fromarray(data.coffee()).resize((450, 300)))


def rendered(
    photo: np.ndarray, *rows: dict[str, float], mask: np.ndarray | None = None, full: bool = True
) -> np.ndarray:
    """Render with one dict of amounts per region row; returns uint8 (h, w, 4)."""
    amounts = torch.zeros(len(rows), len(indices()))
    for row, edits in enumerate(rows):
        for name, amount in edits.items():
            amounts[row, indices()[name]] = amount
    small = np.asarray(Image.fromarray(photo).reduce(2))
    subject = torch.ones(1, 1, 256, 256) if mask is None else torch.tensor(mask)[None, None]
    rgba = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    with torch.no_grad():
        context = Context(full=full)(torch.tensor(small)[None], subject, amounts)
        window = torch.tensor([0.0, 0.0, *photo.shape[:2]])
        plan = (amounts, torch.ones(len(rows), 3), window)
        return Render(full=full)(torch.tensor(rgba)[None], *context, *plan)[0].numpy()


def psnr(reference: np.ndarray, image: np.ndarray) -> float:
    if np.allclose(reference, image):
        return 120.0
    return float(metrics.peak_signal_noise_ratio(reference, image, data_range=1.0))


def amounts_to_try(name: str) -> list[float]:
    return [-1.0, -0.3, 1.0] if vocabulary().adjustment(name).low < 0 else [0.1, 1.0]


DEFINED = [name for stage in definitions.STAGES for name in stage]


@pytest.mark.parametrize("name", DEFINED)
def test_each_adjustment_follows_its_definition(photo: np.ndarray, name: str) -> None:
    for amount in amounts_to_try(name):
        expected = definitions.apply(photo / 255.0, {name: amount})
        edited = rendered(photo, {name: amount})[..., :3] / 255.0
        assert psnr(expected, edited) >= REDUCED_DB.get(name, EXACT_DB), (name, amount)


@pytest.mark.parametrize("name", sorted({*DEFINED} - {*FULL_ADJUSTMENTS}))
def test_the_fast_graph_does_the_same_with_what_it_can_do(photo: np.ndarray, name: str) -> None:
    amount = vocabulary().adjustment(name).default
    fast = rendered(photo, {name: amount}, full=False)
    assert np.abs(fast.astype(int) - rendered(photo, {name: amount})).max() <= 1


@pytest.mark.parametrize("name", LOOKS)
def test_each_look_is_the_mix_that_the_vocabulary_names(photo: np.ndarray, name: str) -> None:
    mix = vocabulary().adjustment(name).mix
    for amount in (0.4, 1.0):
        parts = {base: amount * share for base, share in mix.items()}
        look = rendered(photo, {name: amount}).astype(int)
        assert np.abs(look - rendered(photo, parts)).max() <= 1  # amounts are rounded before or after the product
        if "grain" not in mix:
            expected = definitions.apply(photo / 255.0, {name: amount})
            worst = min((REDUCED_DB.get(base, EXACT_DB) for base in mix), default=EXACT_DB)
            assert psnr(expected, rendered(photo, {name: amount})[..., :3] / 255.0) >= worst


def test_mixes_stay_within_the_range_of_every_adjustment() -> None:
    amounts = torch.zeros(1, len(indices()))
    for name in ("night", "exposure", "warmth"):
        amounts[0, indices()[name]] = vocabulary().adjustment(name).low or 1.0
    mixed = with_mixes(amounts)[0]
    assert mixed[indices()["exposure"]] == -1.0
    assert mixed[indices()["warmth"]] == -1.0
    assert mixed[indices()["vignette"]] == pytest.approx(vocabulary().adjustment("night").mix["vignette"])


def test_looks_need_the_graphs_that_their_parts_need() -> None:
    for look in vocabulary().adjustments:
        for parts in (LOCAL_ADJUSTMENTS, FULL_ADJUSTMENTS):
            assert look.name in parts or not {*look.mix} & {*parts}


def test_every_adjustment_has_a_definition() -> None:
    without = {"grain", "remove", "fill"}  # noise and opacity, tested below
    assert {*DEFINED} | {*LOOKS} | without | ELSEWHERE == set(indices())


@pytest.mark.parametrize(
    ("name", "color", "other"),
    [
        ("reds", (200, 40, 40), (40, 160, 60)),
        ("yellows", (210, 200, 40), (60, 60, 200)),
        ("greens", (60, 160, 50), (200, 40, 60)),
        ("blues", (60, 120, 220), (210, 190, 40)),
        ("purples", (170, 60, 180), (70, 160, 60)),
    ],
)
def test_a_hue_range_greys_its_own_colour_and_leaves_others(
    name: str, color: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    photo = np.zeros((8, 16, 3), np.uint8)
    photo[:, :8], photo[:, 8:] = color, other
    edited = rendered(photo, {name: -1.0})[..., :3].astype(int)
    assert np.ptp(edited[0, 0]) < 0.5 * np.ptp(np.array(color))
    assert np.abs(edited[0, 15] - other).max() <= 1


def test_tilt_shift_keeps_the_middle_sharp(photo: np.ndarray) -> None:
    edited = rendered(photo, {"tilt_shift": 1.0})[..., :3].astype(int)
    assert np.abs(edited[115:185] - photo[115:185]).max() <= 1
    assert np.abs(np.diff(edited[:30], axis=0)).mean() < 0.35 * np.abs(np.diff(photo[:30].astype(int), axis=0)).mean()


def test_skin_is_evened_where_the_mask_is_and_pores_and_features_stay() -> None:
    random = np.random.default_rng(0)
    blotches = ndimage.gaussian_filter(random.standard_normal((300, 300)), 3.0)
    pores = random.standard_normal((300, 300))
    photo = np.full((300, 300), 170.0) + 6.0 * blotches / blotches.std() + 4.0 * pores
    photo[140:150, 60:80] = 40.0  # a feature: far darker than its surroundings
    mask = np.zeros((256, 256), np.float32)
    mask[:, :128] = 1.0
    photo = np.repeat(np.clip(photo, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    edited = rendered(photo, {"skin_smooth": 1.0}, {}, mask=mask)[..., 0].astype(float)
    before = photo[..., 0].astype(float)

    def spread(plane: np.ndarray, sigma: float) -> float:
        return float(ndimage.gaussian_filter(plane, sigma)[20:120, 20:120].std())

    assert spread(edited, 2.5) < 0.7 * spread(before, 2.5)
    fine = [plane - ndimage.gaussian_filter(plane, 1.0) for plane in (before, edited)]
    assert fine[1][20:120, 20:120].std() > 0.9 * fine[0][20:120, 20:120].std()
    assert abs(edited[145, 70] - before[145, 70]) < 15
    assert np.abs(edited[:, 170:] - before[:, 170:]).max() <= 1


def test_a_sketch_is_dark_lines_on_white(photo: np.ndarray) -> None:
    edited = rendered(photo, {"sketch": 1.0})[..., :3]
    assert np.ptp(edited.astype(int), axis=-1).max() <= 1
    assert np.median(edited) > 235
    assert edited.min() < 60


def test_combined_tone_and_colour(photo: np.ndarray) -> None:
    plan = {
        "exposure": 0.3,
        "contrast": 0.6,
        "warmth": -0.7,
        "tint": 0.4,
        "shadows": 0.5,
        "vibrance": 0.5,
        "saturation": -0.2,
        "teal_orange": 0.5,
        "fade": 0.3,
        "vignette": 0.5,
    }
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


def composite() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A disc of a photograph with a frayed soft edge before plain green: photo, foreground, alpha, mask of 256 px."""
    foreground = np.asarray(Image.fromarray(data.chelsea()).resize((300, 300))) / 255.0
    y, x = np.mgrid[:300, :300] / 300.0 - 0.5
    noise = ndimage.gaussian_filter1d(np.random.default_rng(0).standard_normal(2000), 1.2, mode="wrap")
    spokes = noise[((np.arctan2(y, x) + np.pi) / (2 * np.pi) * 1999).astype(int)] / noise.std()
    alpha = ndimage.gaussian_filter(np.clip((0.3 + 0.012 * spokes - np.hypot(y, x)) / 0.03 + 0.5, 0.0, 1.0), 0.8)
    photo = alpha[..., None] * foreground + (1.0 - alpha[..., None]) * np.array([0.1, 0.65, 0.2])
    small = np.asarray(Image.fromarray((alpha * 255).astype(np.uint8)).resize((256, 256))) / 255.0
    return (
        (photo * 255 + 0.5).astype(np.uint8),
        foreground,
        alpha,
        ndimage.gaussian_filter(small, 2.0).astype(np.float32),
    )


def test_a_cut_out_keeps_less_of_the_old_background_in_its_edge() -> None:
    photo, foreground, alpha, mask = composite()
    edge = (alpha > 0.05) & (alpha < 0.95)
    errors = []
    for full in (False, True):
        edited = rendered(photo, {}, {"remove": 1.0}, mask=mask, full=full) / 255.0
        shown = edited[..., 3][edge]
        squares = ((edited[..., :3] - foreground)[edge] ** 2).mean(-1)
        errors.append(float(np.sqrt((squares * shown).sum() / shown.sum())))
    assert errors[1] < 0.7 * errors[0]


def test_the_subject_keeps_its_colours_in_plans_that_cut_nothing_out() -> None:
    photo, _, _, mask = composite()
    edited = rendered(photo, {}, {"greens": 0.0}, mask=mask)
    assert np.abs(edited[..., :3].astype(int) - photo).max() <= 1


def test_render_is_differentiable() -> None:
    amounts = torch.zeros(1, len(indices()), requires_grad=True)
    toned = colored(torch.rand(1, 3, 24, 24), amounts, hue_ranges=True).sum()
    toned.backward()
    assert amounts.grad is not None and amounts.grad[0, indices()["saturation"]] != 0
