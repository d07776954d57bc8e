"""InstructPix2Pix end to end, without torch, against diffusers' own pipeline: same seed, same words, same photo."""

from __future__ import annotations

import shutil
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from painting import MOST, SIZES, close, generator, painted, photograph, pixels, planes_of, png, request
from PIL import Image
from tiny.instruct_pix2pix import SCHEDULER

from edge_runtime.artifact import Artifact
from edge_runtime.diffusion.components import Components
from edge_runtime.editor import Editor
from edge_runtime.errors import ArtifactError, InputError, InstructionError, OptionError
from edge_runtime.request import Size

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # the scheduler's, with NumPy 2
]
FAMILY = "instruct_pix2pix"
WORDS = "make it snowy, please"
HALF_A_SHADE = 0.5 / 255
GUIDANCE = {
    "both": {"text": 7.5, "image": 1.5},
    "image of 1": {"text": 5.0, "image": 1.0},
    "image off": {"text": 7.5, "image": 0.9},
    "text off": {"text": 1.0, "image": 1.5},
}


@pytest.fixture(scope="module")
def original(checkpoint):
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline

    pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(checkpoint)
    pipe.set_progress_bar_config(disable=True)

    def paint(photo, guidance=GUIDANCE["both"], steps=6, negative=None, **scheduler):
        pipe.scheduler = EulerAncestralDiscreteScheduler(**{**SCHEDULER, **scheduler})
        with torch.inference_mode():
            output = pipe(
                prompt=WORDS, image=photo, num_inference_steps=steps, guidance_scale=guidance["text"],
                image_guidance_scale=guidance["image"], negative_prompt=negative, generator=generator(7),
                output_type="np",
            )  # fmt: skip
        return planes_of(output)

    return paint


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("guidance", GUIDANCE.values(), ids=GUIDANCE)
def test_paints_as_the_original(float_artifact, original, size, guidance):
    photo = photograph(*size)
    expected = original(photo, guidance)
    assert close(painted(float_artifact, [photo], WORDS, size, seed=7, steps=6, guidance=guidance), expected)
    assert expected.std() > 0.05


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_steps_are_spaced_as_the_original(float_artifact, original, tmp_path, spacing):
    size = SIZES["odd"]
    expected = original(photograph(*size), timestep_spacing=spacing, steps=8)
    other = changed(float_artifact, tmp_path / "other", timestep_spacing=spacing)
    assert close(painted(other, [photograph(*size)], WORDS, size, seed=7, steps=8), expected)


def test_a_negative_prompt_counts_as_in_the_original(float_artifact, original):
    size = SIZES["wide"]
    expected = original(photograph(*size), negative="a blurred photo")
    actual = painted(float_artifact, [photograph(*size)], WORDS, size, seed=7, steps=6, negative="a blurred photo")
    assert close(actual, expected)
    assert np.abs(expected - original(photograph(*size))).max() > 2 * MOST


def test_a_plain_number_is_guidance_by_the_words(float_artifact):
    with Editor.open(float_artifact, threads=1) as editor:
        assert list(editor.abilities.guidance) == ["text", "image"]


def test_the_size_is_the_originals_unless_asked(float_artifact, original):
    photo = photograph(213, 277)
    expected = original(photo)
    with Editor.open(float_artifact, threads=1) as editor:
        result = editor.edit(request(photo, WORDS, steps=6))
    assert (result.width, result.height) == (208, 272)
    assert close(pixels(result), expected, MOST + HALF_A_SHADE)


def test_a_large_photo_is_painted_at_the_area_that_the_model_was_trained_at(float_artifact):
    with Editor.open(float_artifact, threads=1) as editor:
        result = editor.edit(request(photograph(900, 600), WORDS, steps=1))
    assert (result.width, result.height) == (624, 416)


def test_outside_the_mask_the_photo_stays(float_artifact):
    photo = photograph(213, 277)
    mask = np.zeros((277, 213), np.uint8)
    mask[90:200, 40:150] = 255
    with Editor.open(float_artifact, threads=1) as editor:
        result = editor.edit(request(photo, WORDS, mask=png(Image.fromarray(mask))))
    before, after = np.asarray(photo), np.asarray(Image.open(BytesIO(result.image)).convert("RGB"))
    assert np.array_equal(after[mask == 0], before[mask == 0])
    assert np.abs(after[mask > 0].astype(int) - before[mask > 0]).mean() > 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"instruction": "snow " * 20}, InstructionError, r"too long.*tokens.*at most 75 tokens"),
        ({"negative": "rain " * 20}, InstructionError, r"negative prompt is too long.*at most 75 tokens"),
        ({"references": (b"",)}, OptionError, r"many pictures.*Got 2.*one"),
        ({"size": Size(width=24, height=24)}, OptionError, r"can't paint at this size.*24 x 24.*32 to 2048"),
        ({"size": Size(width=2100, height=2100)}, OptionError, r"can't paint at this size.*2100 x 2100"),
        ({"guidance": {"embedded": 3.0}}, OptionError, r"such guidance.*embedded.*text, image"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_done_is_said_before_anything_is_computed(float_artifact, monkeypatch, options, error, message):
    monkeypatch.setattr(Components, "run", lambda *_, **__: pytest.fail("something was computed"))
    with Editor.open(float_artifact, threads=1) as editor, pytest.raises(error, match=message) as raised:
        editor.edit(request(photograph(128, 128), WORDS, **options))
    assert isinstance(raised.value, InputError)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"prediction_type": "v_prediction"}, r"prediction type can't be run.*v_prediction.*epsilon"),
        ({"beta_schedule": "squaredcos_cap_v2"}, r"schedule.*squaredcos_cap_v2"),
    ],
)
def test_a_schedule_that_is_not_known_is_refused_when_opened(float_artifact, tmp_path, members, message):
    with pytest.raises(ArtifactError, match=message):
        Editor.open(changed(float_artifact, tmp_path / "other", **members), threads=1)


def changed(float_artifact, folder, **scheduler):
    """Return a copy of the artifact with other members of its schedule."""
    shutil.copytree(float_artifact, folder)
    manifest = Artifact.open(float_artifact).manifest
    settings = {**manifest.settings, "scheduler": {**manifest.settings["scheduler"], **scheduler}}
    (folder / "manifest.json").write_bytes(replace(manifest, settings=settings).encode())
    return folder
