"""FLUX.2 klein end to end, without torch, against diffusers' own pipeline: same seed, same words, same pictures."""

from __future__ import annotations

import shutil
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from painting import MOST, SIZES, close, generator, painted, photograph, pixels, planes_of, png, request
from PIL import Image

from edge_runtime.artifact import Artifact
from edge_runtime.diffusion.components import Components
from edge_runtime.diffusion.pictures import cut_to_multiple
from edge_runtime.editor import Editor
from edge_runtime.errors import InputError, InstructionError, OptionError
from edge_runtime.families.flux2_klein import bounded
from edge_runtime.request import Size

pytestmark = pytest.mark.slow
FAMILY = "flux2_klein"
WORDS = "make it snowy, please"
HALF_A_SHADE = 0.5 / 255


@pytest.fixture(scope="module")
def artifacts(float_artifact, tmp_path_factory):
    """The artifact as converted, and `base`: with what the converter writes for a model that isn't distilled."""
    base = shutil.copytree(float_artifact, tmp_path_factory.mktemp("base") / "fp32")
    manifest = Artifact.open(float_artifact).manifest
    settings = {**manifest.settings, "steps": 50, "guidance": {"text": 4.0}}
    (base / "manifest.json").write_bytes(replace(manifest, settings=settings).encode())
    return {"distilled": float_artifact, "base": base}


@pytest.fixture(scope="module")
def original(checkpoint):
    from diffusers import Flux2KleinPipeline

    pipe = Flux2KleinPipeline.from_pretrained(checkpoint)
    pipe.set_progress_bar_config(disable=True)

    def paint(pictures, size=(None, None), guidance=None, steps=4, words=WORDS):
        pipe.register_to_config(is_distilled=guidance is None)
        with torch.inference_mode():
            output = pipe(
                prompt=words, image=list(pictures), width=size[0], height=size[1], num_inference_steps=steps,
                guidance_scale=guidance or 1.0, generator=generator(7), output_type="np",
            )  # fmt: skip
        return planes_of(output)

    return paint


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("guidance", [None, 3.0], ids=["distilled", "guided"])
def test_paints_as_the_original(artifacts, original, size, guidance):
    photo = photograph(*size)
    expected = original([photo], size, guidance)
    options = {} if guidance is None else {"guidance": {"text": guidance}}
    actual = painted(
        artifacts["distilled" if guidance is None else "base"], [photo], WORDS, size, seed=7, steps=4, **options
    )
    assert close(actual, expected)
    assert expected.std() > 0.05


@pytest.mark.parametrize("guidance", [None, 3.0], ids=["distilled", "guided"])
def test_sees_two_references_as_the_original(artifacts, original, guidance):
    size = SIZES["wide"]
    pictures = [photograph(*size), photograph(213, 150, "coffee"), photograph(131, 202, "chelsea")]
    expected = original(pictures, size, guidance)
    options = {} if guidance is None else {"guidance": {"text": guidance}}
    name = "distilled" if guidance is None else "base"
    actual = painted(artifacts[name], pictures, WORDS, size, seed=7, steps=4, **options)
    alone = painted(artifacts[name], pictures[:1], WORDS, size, seed=7, steps=4, **options)
    assert close(actual, expected)
    assert np.abs(actual - alone).max() > 10 * MOST


def test_guidance_of_one_is_none(artifacts, original):
    size = SIZES["square"]
    expected = original([photograph(*size)], size, 1.0)
    actual = painted(artifacts["base"], [photograph(*size)], WORDS, size, seed=7, steps=4, guidance={"text": 1.0})
    assert close(actual, expected)


def test_the_size_and_the_cut_are_the_originals_unless_asked(artifacts, original):
    photo = photograph(213, 277)
    expected = original([photo])
    with Editor.open(artifacts["distilled"], threads=1) as editor:
        result = editor.edit(request(photo, WORDS))
    assert (result.width, result.height) == (208, 272)
    assert close(pixels(result), expected, MOST + HALF_A_SHADE)


@pytest.mark.parametrize("size", [(213, 277), (1024, 1024), (1025, 1024), (1500, 1100), (3000, 3000), (2999, 431)])
def test_references_are_prepared_as_the_original(size):
    from diffusers.pipelines.flux2.image_processor import Flux2ImageProcessor

    processor, picture = Flux2ImageProcessor(vae_scale_factor=16), photograph(*size)
    expected = processor._resize_if_exceeds_area(picture, 1024 * 1024)
    width, height = (side // 16 * 16 for side in expected.size)
    expected = processor.resize(expected, height, width, resize_mode="crop")
    actual = cut_to_multiple(bounded(picture, 1024 * 1024), 16)
    assert actual.size == expected.size
    assert np.array_equal(np.asarray(actual), np.asarray(expected))


@pytest.mark.parametrize("name", ["distilled", "base"])
def test_outside_the_mask_the_photo_stays(artifacts, name):
    photo = photograph(213, 277)
    mask = np.zeros((277, 213), np.uint8)
    mask[90:200, 40:150] = 255
    with Editor.open(artifacts[name], threads=1) as editor:
        result = editor.edit(request(photo, WORDS, mask=png(Image.fromarray(mask))))
    before, after = np.asarray(photo), np.asarray(Image.open(BytesIO(result.image)).convert("RGB"))
    assert np.array_equal(after[mask == 0], before[mask == 0])
    assert np.abs(after[mask > 0].astype(int) - before[mask > 0]).mean() > 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"instruction": "snow " * 120}, InstructionError, r"too long.*tokens"),
        ({"references": (b"",) * 4}, OptionError, r"many pictures.*Got 5.*at most 4"),
        ({"size": Size(width=48, height=48)}, OptionError, r"can't paint at this size.*48 x 48.*64 to 2048"),
        ({"size": Size(width=2100, height=2100)}, OptionError, r"can't paint at this size.*2100 x 2100"),
        ({"guidance": {"": 3.0}}, OptionError, r"such guidance.*distilled"),
        ({"guidance": {"text": 3.0}}, OptionError, r"such guidance.*distilled"),
        ({"negative": "rain"}, OptionError, r"can't be told what not to show"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_done_is_said_before_anything_is_computed(artifacts, monkeypatch, options, error, message):
    monkeypatch.setattr(Components, "run", lambda *_, **__: pytest.fail("something was computed"))
    with Editor.open(artifacts["distilled"], threads=1) as editor, pytest.raises(error, match=message) as raised:
        editor.edit(request(photograph(128, 128), WORDS, **options))
    assert isinstance(raised.value, InputError)


def test_a_reference_that_is_too_small_is_refused(artifacts, monkeypatch):
    monkeypatch.setattr(Components, "run", lambda *_, **__: pytest.fail("something was computed"))
    pictures = {"references": (png(photograph(12, 40)),)}
    with Editor.open(artifacts["base"], threads=1) as editor, pytest.raises(OptionError, match=r"too small.*12 x 40"):
        editor.edit(request(photograph(128, 128), WORDS, **pictures))
