"""Qwen-Image-Edit end to end, without torch, against diffusers' own pipelines: same seed, words and photographs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from io import BytesIO

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
from painting import SIZES, close, generator, painted, photograph, planes_of, png
from PIL import Image
from tiny.artifact import converted, merged
from tiny.qwen_image_edit import build, processor
from tiny.qwen_vl import token_id

from converters.job import Task, describe
from edge_runtime.artifact import Artifact
from edge_runtime.diffusion.components import Components
from edge_runtime.editor import Editor
from edge_runtime.errors import ArtifactError, InstructionError, OptionError
from edge_runtime.manifest import MANIFEST_FILE
from edge_runtime.plan import Plan
from edge_runtime.request import EditRequest, Size

pytestmark = pytest.mark.slow
VARIANTS = {"single": {}, "plus": {"plus": True}, "2511": {"plus": True, "zero_cond_t": True}}
AREA, SEEN = 192 * 192, 112 * 112
"""Of references, and of what the text encoder sees of several; the true ones take minutes."""

WORDS, NEGATIVE, STEPS = "make it snowy, please", "rain", 3


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in VARIANTS}
    for name, folder in folders.items():
        build(folder, **VARIANTS[name])
    return folders


@pytest.fixture(scope="module")
def artifacts(checkpoints, tmp_path_factory):
    """Return an artifact for every variant, as converted but for the areas, whose positions are multimodal.

    The single variant's graphs are those of plus; only the settings differ.
    """
    folder = tmp_path_factory.mktemp("artifacts")
    made = {}
    for name in ("plus", "2511"):
        areas = {"size": {"area": AREA}, "references": {"area": AREA}, "vision": {"area": SEEN}}
        made[name] = converted(checkpoints[name], folder / name, **areas)["fp32"]
    task = Task(checkpoint=str(checkpoints["single"]), recipe="fp32", folder=str(folder))
    areas = {"size": {"area": AREA}, "references": {"area": AREA}, "vision": {"area": AREA}}
    settings = merged(describe(task)["settings"], areas)
    return {**made, "single": changed(made["plus"], folder / "single", replaced=settings)}


@pytest.fixture(scope="module")
def plain(artifacts, tmp_path_factory):
    """Return the artifacts with positions as diffusers 0.42 has them under transformers 5."""
    folder = tmp_path_factory.mktemp("plain")
    return {name: changed(path, folder / name, text={"positions": "plain"}) for name, path in artifacts.items()}


@pytest.fixture(scope="module")
def originals(checkpoints):
    pipes = {}
    for name, folder in checkpoints.items():
        kind = diffusers.QwenImageEditPipeline if name == "single" else diffusers.QwenImageEditPlusPipeline
        pipes[name] = kind.from_pretrained(folder, processor=processor(folder / "processor"))
        pipes[name].set_progress_bar_config(disable=True)
    with pytest.MonkeyPatch.context() as patch:
        single, plus = pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
        sizes = single.calculate_dimensions
        patch.setattr(single, "calculate_dimensions", lambda area, ratio: sizes(AREA, ratio))
        patch.setattr(plus, "VAE_IMAGE_SIZE", AREA)
        patch.setattr(plus, "CONDITION_IMAGE_SIZE", SEEN)
        yield pipes


def expected(pipe, pictures, size, **options):
    with torch.inference_mode():
        output = pipe(
            prompt=WORDS, image=pictures if len(pictures) > 1 else pictures[0], width=size[0], height=size[1],
            num_inference_steps=STEPS, generator=generator(7), output_type="np", **options,
        )  # fmt: skip
    return planes_of(output)


def pictures_of(name, size):
    """Return what the variant edits; the last of several has the result's proportions."""
    photo = photograph(*size)
    return [photo] if name == "single" else [photograph(220, 150, "cat"), photo]


@pytest.mark.parametrize("guided", [False, True], ids=["unguided", "guided"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", VARIANTS)
def test_paints_as_the_original(plain, originals, name, size, guided):
    pictures = pictures_of(name, size)
    scales = {"true_cfg_scale": 4.0, "negative_prompt": NEGATIVE} if guided else {"true_cfg_scale": 1.0}
    wanted = expected(originals[name], pictures, size, **scales)
    options = {"negative": NEGATIVE} if guided else {"guidance": {"text": 1.0}}
    actual = painted(plain[name], pictures, WORDS, size, seed=7, steps=STEPS, **options)
    assert close(actual, wanted)
    assert wanted.std() > 0.05


@pytest.mark.parametrize("name", ["single", "2511"])
def test_sees_rows_and_columns_as_the_original_with_its_tokens_told(artifacts, plain, originals, name):
    def tell(module, args, inputs):
        return args, {**inputs, "mm_token_type_ids": (inputs["input_ids"] == token_id("<|image_pad|>")).int()}

    size = SIZES["odd"]
    pictures = pictures_of(name, size)
    told = originals[name].text_encoder.register_forward_pre_hook(tell, with_kwargs=True)
    wanted = expected(originals[name], pictures, size, true_cfg_scale=4.0, negative_prompt=" ")
    told.remove()
    actual, other = (
        painted(some[name], pictures, WORDS, size, seed=7, steps=STEPS, guidance={"": 4.0})
        for some in (artifacts, plain)
    )
    assert close(actual, wanted) and not close(actual, other)


def request(*pictures, **options):
    photo, *others = map(png, pictures or [photograph(96, 64)])
    chosen = {"instruction": "snow", "steps": 1, "seed": 1, "output_format": "png", "guidance": {"": 1.0}, **options}
    return EditRequest(image=photo, references=tuple(others), **chosen)


def test_the_result_has_the_shape_of_the_last_picture_or_of_the_masked_one(artifacts):
    wide, high = photograph(96, 48), photograph(48, 96)
    mask = png(Image.new("L", wide.size, 255))
    for name, options, pictures, shape in (
        ("single", {}, [wide], (256, 128)),  # 271.5 x 135.8, to multiples of 32
        ("plus", {}, [wide, high], (128, 256)),
        ("plus", {"size": Size(width=128, height=128)}, [wide, high], (64, 128)),
        ("plus", {"mask": mask, "size": Size(width=128, height=128)}, [wide, high], (128, 64)),
    ):
        with Editor.open(artifacts[name], threads=1) as editor:
            result = editor.edit(request(*pictures, **options))
        assert (result.width, result.height) == shape


def test_what_can_not_be_done_is_said_before_anything_is_computed(artifacts, monkeypatch):
    runs = counted(monkeypatch)
    with Editor.open(artifacts["single"], threads=1) as single, Editor.open(artifacts["plus"], threads=1) as plus:
        for editor, asked, error, message in (
            (single, request(instruction="snow " * 205), InstructionError, "too long.*1025 tokens.*at most 1024"),
            (single, request(instruction="a <|image_pad|>"), InstructionError, "own sign for a picture"),
            (single, request(*[photograph(96, 64)] * 2), OptionError, "too many pictures.*Got 2.*one"),
            (plus, request(*[photograph(96, 64)] * 4), OptionError, "too many pictures.*Got 4.*at most 3"),
            (single, request(size=Size(width=64, height=64)), OptionError, "can't paint at this size.*choose another"),
            (single, request(instruction=None, plan=Plan(edits=())), InstructionError, "has no plans"),
        ):
            with pytest.raises(error, match=f"(?is){message}"):
                editor.edit(asked)
    assert runs == []


def test_a_distilled_model_has_no_guidance(artifacts, tmp_path):
    distilled = changed(artifacts["plus"], tmp_path / "distilled", replaced={"guidance": {}, "steps": 4})
    with Editor.open(distilled, threads=1) as editor:
        assert editor.abilities.guidance == {} and not editor.abilities.negative and editor.abilities.steps == 4
        with pytest.raises(OptionError, match="distilled"):
            editor.edit(request(guidance={"": 4.0}))
        with pytest.raises(OptionError, match="what not to show"):
            editor.edit(request(guidance={}, negative="rain"))
        assert editor.edit(request(guidance={})).width == 224


def test_positions_of_an_unknown_kind_are_refused(artifacts, tmp_path):
    strange = changed(artifacts["single"], tmp_path / "strange", text={"positions": "spiral"})
    with Editor.open(strange, threads=1) as editor, pytest.raises(ArtifactError, match="unknown kind.*spiral"):
        editor.edit(request())


def test_outside_the_mask_the_photo_stays(artifacts):
    photo = photograph(208, 160)
    marked = Image.new("L", photo.size, 0)
    marked.paste(255, (80, 48, 144, 112))
    with Editor.open(artifacts["plus"], threads=1) as editor:
        result = editor.edit(request(photo, photograph(64, 96, "cat"), mask=png(marked), steps=2))
    painted_over = np.abs(np.asarray(Image.open(BytesIO(result.image)).convert("RGB"), int) - np.asarray(photo, int))
    inside = np.asarray(marked) > 0
    assert painted_over[~inside].max() == 0 and painted_over[inside].mean() > 5


def test_a_repeated_instruction_is_not_read_again(artifacts, monkeypatch):
    runs = counted(monkeypatch)
    with Editor.open(artifacts["plus"], threads=1) as editor:
        pair = [photograph(96, 64), photograph(64, 96, "cat")]
        for asked, vision, text, passes in (
            (request(*pair, guidance={}), 2, 2, 2),  # both pictures; words and what not to show, with guidance
            (request(*pair, guidance={}, seed=2), 0, 0, 2),
            (request(*pair, steps=2), 0, 0, 2),
            (request(*pair, instruction="rain"), 0, 1, 1),
            (request(*pair[::-1]), 2, 1, 1),
        ):
            runs.clear()
            editor.edit(asked)
            assert [runs.count(part) for part in ("vision_encoder", "text_encoder", "denoiser")] == [
                vision, text, passes,
            ]  # fmt: skip


def counted(monkeypatch) -> list[str]:
    """Return a list that the name of every part is written to when it runs."""
    runs = []
    run = Components.run
    monkeypatch.setattr(Components, "run", lambda self, name, **inputs: runs.append(name) or run(self, name, **inputs))
    return runs


def changed(artifact, folder, replaced=None, **settings):
    """Return a copy of an artifact with other settings; `replaced` takes members' places whole."""
    shutil.copytree(artifact, folder)
    manifest = Artifact.open(artifact).manifest
    manifest = replace(manifest, settings={**merged(manifest.settings, settings), **(replaced or {})})
    (folder / MANIFEST_FILE).write_bytes(manifest.encode())
    return folder
