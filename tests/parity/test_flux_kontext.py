"""FLUX.1 Kontext end to end, without torch, against diffusers' own pipeline: same seed, same words, same photograph."""

from __future__ import annotations

import shutil
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from painting import SIZES, close, generator, painted, photograph, planes_of, png
from PIL import Image
from tiny.artifact import merged

from converters.pipelines.flux_kontext import PREFERRED_PIXELS
from edge_runtime.canonical_json import plain
from edge_runtime.diffusion.flux import positions, shortened
from edge_runtime.diffusion.settings import Settings
from edge_runtime.editor import Editor
from edge_runtime.errors import ArtifactError, InstructionError, OptionError
from edge_runtime.families.flux_kontext import nearest
from edge_runtime.generators import finished
from edge_runtime.manifest import MANIFEST_FILE, Manifest
from edge_runtime.request import EditRequest, Size, Step

SMALL = [(width // 4, height // 4) for width, height in PREFERRED_PIXELS]
"""What the photo is seen at in most tests, for speed; unlike the true ones they are not all whole tokens."""

FAMILY = "flux_kontext"
WORDS = "make it snowy, please"
LONG = " ".join([WORDS] * 8)  # longer than CLIP's 77 tokens


@pytest.fixture(scope="module")
def artifact(float_artifact, tmp_path_factory):
    """The same, but photos are seen at the small sizes."""
    folder = tmp_path_factory.mktemp("small") / "artifact"
    shutil.copytree(float_artifact, folder)
    manifest = Manifest.decode((folder / MANIFEST_FILE).read_bytes())
    settings = merged(plain(manifest.settings), {"size": {"preferred": [list(size) for size in SMALL]}})
    (folder / MANIFEST_FILE).write_bytes(replace(manifest, settings=settings).encode())
    return folder


@pytest.fixture(scope="module")
def original(checkpoint):
    from diffusers import FluxKontextPipeline

    pipe = FluxKontextPipeline.from_pretrained(checkpoint)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def small_sizes(monkeypatch):
    from diffusers.pipelines.flux import pipeline_flux_kontext

    monkeypatch.setattr(pipeline_flux_kontext, "PREFERRED_KONTEXT_RESOLUTIONS", SMALL)


def expected(original, photo, words, size, steps=4, **options):
    with torch.inference_mode():
        return planes_of(
            original(
                image=photo, prompt=words, width=size[0], height=size[1], max_area=size[0] * size[1],
                num_inference_steps=steps, generator=generator(7), output_type="np", **options,
            )
        )


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("guided", [False, True], ids=["one pass", "true CFG"])
def test_paints_as_the_original(artifact, original, small_sizes, size, guided):
    photo = photograph(*size)
    guidance, negative, scales = {"embedded": 3.0}, None, {"guidance_scale": 3.0}
    if guided:
        guidance, negative = {**guidance, "text": 2.5}, "people, hats"
        scales = {**scales, "true_cfg_scale": 2.5, "negative_prompt": negative}
    wanted = expected(original, photo, WORDS, size, **scales)
    actual = painted(artifact, [photo], WORDS, size, seed=7, steps=4, guidance=guidance, negative=negative)
    assert close(actual, wanted)
    assert wanted.std() > 0.05


@pytest.mark.slow
def test_clip_reads_the_beginning_of_a_long_text(artifact, original, small_sizes):
    photo, size = photograph(160, 128), (160, 128)
    wanted = expected(original, photo, LONG, size, steps=2, guidance_scale=2.5)
    assert close(painted(artifact, [photo], LONG, size, seed=7, steps=2), wanted)


@pytest.mark.slow
def test_sees_the_photo_at_the_true_sizes(float_artifact, original):
    photo, size = photograph(320, 192, "rocket"), (160, 96)  # seen at 1328 x 800, the largest, still in one piece
    wanted = expected(original, photo, WORDS, size, steps=1, guidance_scale=2.5)
    assert close(painted(float_artifact, [photo], WORDS, size, seed=7, steps=1), wanted)


@pytest.mark.slow
def test_a_mask_keeps_the_photo_outside(artifact):
    photo = photograph(192, 160)
    mask = np.zeros((160, 192), np.uint8)
    mask[40:120, 50:150] = 255
    request = request_of(photo, size=Size(width=192, height=160), mask=png(Image.fromarray(mask)), previews=True)
    with Editor.open(artifact, threads=1) as editor:
        steps: list[Step] = []
        result = finished(editor.steps(request), steps.append)
    previews = [step.preview for step in steps if step.preview is not None]
    before, after = np.asarray(photo), np.asarray(Image.open(BytesIO(result.image)).convert("RGB"))
    assert np.array_equal(after[mask == 0], before[mask == 0])
    assert np.abs(after[mask > 0].astype(int) - before[mask > 0]).mean() > 10
    assert [preview.shape for preview in previews] == [(20, 24, 4)] * 2


@pytest.mark.slow
def test_the_size_follows_the_photo_without_a_box(artifact):
    small = photograph(96, 64)
    with Editor.open(artifact, threads=1) as editor:
        model = editor._model
        assert model.sizes.target((600, 400), None) == (1248, 832)
        assert model.abilities.guidance == {"embedded": 2.5, "text": 1.0}
        result = editor.edit(request_of(small, size=Size(width=150, height=100)))
    assert (result.width, result.height) == (144, 96)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"instruction": "snow " * 150}, InstructionError, r"too long.*\d+ tokens.*at most 512"),
        ({"size": Size(width=48, height=48)}, OptionError, r"can't paint at this size.*48 x 48.*64 to 2048"),
        ({"size": Size(width=4096, height=4096)}, OptionError, "can't paint at this size.*4096 x 4096"),
        ({"negative": "people"}, OptionError, "negative prompt counts only with text guidance above 1"),
        ({"guidance": {"image": 2.0}}, OptionError, "No such guidance.*embedded, text"),
        ({"references": (b"",)}, OptionError, "Too many pictures.*Allowed: one"),
    ],
    ids=["words", "small", "large", "negative", "guidance", "pictures"],
)
def test_what_cannot_be_asked_for(artifact, options, error, message):
    with Editor.open(artifact, threads=1) as editor:
        with pytest.raises(error, match=message):
            editor.edit(request_of(photograph(128, 128), **options))
        assert not editor._model.components._sessions  # refused before anything costly


def test_the_nearest_size_as_the_original():
    for width, height in [(1, 1), (300, 181), (181, 300), (5000, 100), (100, 5000), (1043, 1000)]:
        ratio = width / height
        _, *size = min((abs(ratio - wide / high), wide, high) for wide, high in PREFERRED_PIXELS)
        assert nearest((width, height), PREFERRED_PIXELS) == tuple(size)


def test_positions_as_the_original():
    from diffusers import FluxKontextPipeline

    grids = [(4, 6), (5, 3)]
    ids = [FluxKontextPipeline._prepare_latent_image_ids(1, *grid, "cpu", torch.float32) for grid in grids]
    ids[1][:, 0] = 1
    places = positions(grids, Settings({"first": 1, "step": 1, "diagonal": False}))
    assert np.array_equal(places, torch.cat(ids).numpy())


def test_what_is_cut_off_is_before_the_end_token():
    assert shortened([1, 2, 3, 9], 4) == [1, 2, 3, 9]
    assert shortened([1, 2, 3, 4, 9], 4) == [1, 2, 3, 9]


@pytest.mark.parametrize("pairs", [None, [], [[1]], [[1, 2.5]], [[0, 1]], [1, 2], [[True, 1]]])
def test_sizes_that_are_no_pairs_are_refused(pairs):
    with pytest.raises(ArtifactError, match="preferred in the manifest can't be used"):
        Settings({"preferred": pairs}, "size").pairs("preferred")


def request_of(photo, **options):
    options = {"instruction": WORDS, "seed": 7, "steps": 2, "output_format": "png", **options}
    return EditRequest(image=png(photo), **options)
