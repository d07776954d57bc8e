"""What holds for every painting family: 8 and 4 bits run, no torch, stops at once, previews, errors of one kind."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from families import EXAMPLES
from painting import painted, photograph, png
from PIL import Image
from tiny.artifact import converted

from edge_runtime.editor import Editor
from edge_runtime.errors import ArtifactError, OptionError
from edge_runtime.generators import finished
from edge_runtime.request import EditRequest, Size
from edge_runtime.service import open_service
from server.app import create_app
from tests.program import program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # a scheduler's, with NumPy 2
]
logger = logging.getLogger(__name__)
RECIPES = ("fp32", "int8", "int4")
SIZE = (160, 128)
WORDS = "make it snowy"
# Starts a command that hears Ctrl-C. A fork hook in this process would meet JAX's warning, which litert-torch brings.
LISTENING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
NO_TORCH = """
import sys
from pathlib import Path
from edge_runtime.editor import Editor
from edge_runtime.request import EditRequest, Size
photos = [Path(name).read_bytes() for name in sys.argv[2:]]
with Editor.open(sys.argv[1], threads=1) as editor:
    request = EditRequest(image=photos[0], references=tuple(photos[1:]), instruction="make it snowy", seed=1, steps=2,
                          size=Size(width=160, height=128))
    assert editor.edit(request).width == 160
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture(scope="module", params=EXAMPLES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def artifacts(name, tmp_path_factory):
    """The family's tiny checkpoint in every recipe."""
    folder = tmp_path_factory.mktemp(name)
    example = EXAMPLES[name]
    checkpoint, loras = example.checkpoint(folder)
    yield converted(checkpoint, folder / "artifact", RECIPES, loras, **example.settings)
    shutil.rmtree(folder)


def pictures(name: str) -> list[Image.Image]:
    return [photograph(*SIZE), photograph(*SIZE, "chelsea")][: EXAMPLES[name].pictures]


def request_of(name: str, **options: object) -> EditRequest:
    photo, *others = map(png, pictures(name))
    given = {"instruction": WORDS, "seed": 7, "steps": 3, "size": Size(width=SIZE[0], height=SIZE[1]), **options}
    return EditRequest(image=photo, references=tuple(others), **given)


def test_8_and_4_bits_paint_nearly_the_same(name, artifacts):
    options = {"seed": 7, "steps": 3, "guidance": EXAMPLES[name].guidance}
    found = {recipe: painted(path, pictures(name), WORDS, SIZE, **options) for recipe, path in artifacts.items()}
    for recipe in RECIPES[1:]:
        assert np.isfinite(found[recipe]).all()
        psnr = -10 * np.log10(np.mean((found[recipe] - found["fp32"]) ** 2))
        logger.info("%s %s: %.1f dB from fp32", name, recipe, psnr)
        assert EXAMPLES[name].least_db[recipe] < psnr < 120


def test_torch_is_nowhere(name, artifacts, tmp_path):
    files = []
    for place, picture in enumerate(pictures(name)):
        (tmp_path / f"{place}.png").write_bytes(png(picture))
        files.append(str(tmp_path / f"{place}.png"))
    command = [sys.executable, "-c", NO_TORCH, str(artifacts["int8"]), *files]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    modules = set(ended.stdout.split())
    assert not modules & {"torch", "diffusers", "transformers", "safetensors", "onnx", "scipy", "converters"}
    assert {"numpy", "onnxruntime", "tokenizers"} <= modules


def test_steps_come_one_by_one_and_closing_stops_them(name, artifacts):
    with Editor.open(artifacts["fp32"], threads=1) as editor:
        ran = []
        components = editor._model.components
        run = components.run
        components.run = lambda part, **inputs: ran.append(part) or run(part, **inputs)
        steps = editor.steps(request_of(name, steps=9))
        seen = []
        for step in steps:
            seen.append(step)
            if step.done == 2:
                break
        steps.close()
    assert [step.done for step in seen if step.stage == "denoise"] == [0, 1, 2]
    assert all(step.steps == 9 for step in seen if step.stage == "denoise")
    fractions = [step.fraction for step in seen]
    assert fractions == sorted(fractions)
    passes = ran.count("denoiser")
    assert passes in (2, 4, 6) and "vae_decoder" not in ran


def test_the_server_says_what_it_can_be_asked_for(name, artifacts):
    service = open_service([artifacts["fp32"]], threads=1)
    try:
        client = create_app(service, {"trusted_hosts": ("localhost",)}).test_client()
        model = client.get("/v1/models").get_json()["data"][1]["id"]
        told = client.get(f"/v1/models/{model}").get_json()
    finally:
        service.close()
    abilities = told["abilities"]
    assert abilities["steps"] > 0 and "vocabulary" not in told
    assert set(EXAMPLES[name].guidance) <= set(abilities["guidance"])
    assert abilities["pictures"] >= EXAMPLES[name].pictures


def test_a_preview_is_an_early_small_picture(name, artifacts):
    with Editor.open(artifacts["fp32"], threads=1) as editor:
        previews = [step.preview for step in editor.steps(request_of(name, previews=True)) if step.preview is not None]
    assert len(previews) == 3
    assert all(preview.shape == (SIZE[1] // 8, SIZE[0] // 8, 4) and preview.dtype == np.uint8 for preview in previews)
    assert all((preview[..., 3] == 255).all() for preview in previews)


def test_equal_seeds_give_equal_pictures_and_others_don_t(name, artifacts):
    with Editor.open(artifacts["fp32"], threads=1) as editor:
        first, again, other = (editor.edit(request_of(name, seed=seed, steps=2)) for seed in (7, 7, 8))
        drawn = editor.edit(request_of(name, seed=None, steps=1))
    assert first.image == again.image != other.image
    assert first.seed == 7 and drawn.seed is not None and first.plan is None


def test_parts_are_closed_when_memory_is_short(name, artifacts):
    results = []
    for memory in (None, 1):
        with Editor.open(artifacts["fp32"], threads=1, memory_bytes=memory) as editor:
            opened: list[int] = []
            parts = editor._model.components._sessions
            steps = editor.steps(request_of(name, steps=1))
            results.append(finished(steps, lambda _, parts=parts, opened=opened: opened.append(len(parts))))
            assert max(opened) == 1 if memory else max(opened) > 1
    assert results[0].image == results[1].image


def test_an_artifact_of_another_family_is_one_clear_error(name, artifacts, tmp_path):
    from edge_runtime import canonical_json

    folder = tmp_path / "wrong"
    shutil.copytree(artifacts["int4"], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    others = {"dreamlite": "flux-kontext", "umo": "qwen-image-edit"}
    manifest["family"] = others.get(manifest["family"], "dreamlite")
    (folder / "manifest.json").write_bytes(canonical_json.encode(manifest))
    with pytest.raises(ArtifactError), Editor.open(folder, threads=1) as editor:
        editor.edit(EditRequest(image=png(photograph(*SIZE)), instruction=WORDS, seed=1, steps=1))


def test_the_command_paints_shows_steps_and_stops(name, artifacts, tmp_path):
    files = []
    for place, picture in enumerate(pictures(name)):
        (tmp_path / f"{place}.png").write_bytes(png(picture))
        files.append(str(tmp_path / f"{place}.png"))
    out = tmp_path / "out.png"
    command = [*program(), "edit", *files, WORDS, "--model", str(artifacts["int8"]),
               "--seed", "7", "--size", "160x128", "-o", str(out)]  # fmt: skip
    done = subprocess.run([*command, "--steps", "2", "--preview"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "160x128, seed 7" in done.stdout and "step 2 of 2" in done.stderr
    for written in (out, tmp_path / "out.preview.png"):
        assert Image.open(BytesIO(written.read_bytes())).size == (160, 128)
    out.unlink()
    # a shell that starts pytest in the background lets it, and so the command, ignore Ctrl-C
    with subprocess.Popen(
        [sys.executable, "-c", LISTENING, *command, "--steps", "100"], stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "step 1 of 100" in line:
                break
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()
    assert running.returncode == 130 and "stopped" in rest
    assert rest.count("step ") < 60 and not out.exists()


def test_several_pictures_only_where_they_belong(name, artifacts):
    picture = BytesIO()
    photograph(64, 64).save(picture, "PNG")
    with Editor.open(Path(artifacts["int8"]), threads=1) as editor:
        most = editor.abilities.pictures
        request = request_of(name)
        crowd = EditRequest(image=request.image, references=(picture.getvalue(),) * most, instruction=WORDS)
        with pytest.raises(OptionError, match="(?i)too many pictures") as error:
            editor.edit(crowd)
    assert error.value.code == "too_many_images"
