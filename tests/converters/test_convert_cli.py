"""`nanoedge convert` on a source that is one file in a folder of plug-ins."""

from pathlib import Path

import click.testing
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from stand_ins import images, texts, write_checkpoint

import converters.sources
from converters.calibration import load_calibration
from converters.cli import convert as command
from converters.convert import Request, convert
from edge_runtime.artifact import Artifact
from edge_runtime.engines.onnxruntime import ENGINE
from edge_runtime.errors import ConversionError, ImageError, NanoedgeError, OptionError


@pytest.fixture
def tiny(tmp_path):
    """Put the source `tiny` beside the project's own; returns its checkpoint."""
    folder = str(Path(__file__).with_name("plugged"))
    converters.sources.__path__.append(folder)
    yield write_checkpoint(tmp_path / "tiny.safetensors")
    converters.sources.__path__.remove(folder)


def run(*arguments: object) -> click.testing.Result:
    return click.testing.CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_a_checkpoint_becomes_an_artifact(tiny, tmp_path):
    result = run("tiny", "--recipe", "int8", "-o", tmp_path / "artifact", "--checkpoint", tiny)
    assert result.exception is None, result.exception
    artifact = Artifact.open(tmp_path / "artifact")
    manifest = artifact.manifest
    assert (manifest.family, manifest.target, manifest.recipe) == ("tiny", "onnx", "int8")
    assert manifest.settings == {"side": 32}
    assert set(manifest.provenance) == {"checkpoint_sha256", "tools", "calibration"}
    assert set(manifest.quality) == {"text", "vision"}
    for component, inputs in (("text", texts(9, 1)[0]), ("vision", images(9, 1)[0])):
        with ENGINE.open(artifact.path(component), manifest.component(component), threads=1) as session:
            assert all(np.isfinite(array).all() for array in session.run(inputs).values())
    for word in ("component", "text", "vision", "int8", "snr_db", artifact.version):
        assert word in result.stdout
    assert "[1/2] text: exporting" in result.stderr and "[1/2]" not in result.stdout


def test_same_checkpoint_same_artifact(tiny, tmp_path):
    versions = set()
    for name in ("first", "second"):
        request = Request(source="tiny", recipe="int4", destination=tmp_path / name, checkpoint=tiny)
        versions.add(convert(request).artifact.version)
    assert len(versions) == 1
    other = write_checkpoint(tmp_path / "other.safetensors", seed=1)
    request = Request(source="tiny", recipe="int4", destination=tmp_path / "third", checkpoint=other)
    assert convert(request).artifact.version not in versions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "huge"}, "huge.*nano_banana"),
        ({"target": "gguf"}, "gguf.*onnx"),
        ({"recipe": "int2"}, "int2.*bf16, fp16, fp32, int4, int4-b128, int4-channel, int4-lr32.*, int8, nf4"),
        ({"checkpoint": None}, "checkpoint"),
    ],
)
def test_unknown_names_list_what_is_allowed(tiny, tmp_path, changes, message):
    request = {"source": "tiny", "destination": tmp_path / "out", "checkpoint": tiny, **changes}
    with pytest.raises(OptionError, match=message):
        convert(Request(**request))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_existing_output_is_left_alone(tiny, tmp_path, kind):
    output = tmp_path / "out"
    output.mkdir() if kind == "folder" else output.write_text("mine", encoding="utf-8")
    result = run("tiny", "-o", output, "--checkpoint", tiny)
    assert isinstance(result.exception, OptionError)
    assert "exists already" in str(result.exception) and str(output) in str(result.exception)
    assert output.is_dir() if kind == "folder" else output.read_text(encoding="utf-8") == "mine"


def spoiled(checkpoint: Path, change) -> Path:
    tensors = load_file(checkpoint)
    change(tensors)
    path = checkpoint.with_name("spoiled.safetensors")
    save_file(tensors, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("text.head.bias"), "lacks tensors.*text.head.bias"),
        (lambda t: t.update({"text.extra": torch.zeros(1)}), "doesn't know.*text.extra"),
        (lambda t: t.update({"sound.weight": torch.zeros(1)}), "not a checkpoint of this model.*sound.weight"),
        (lambda t: t.update({"text.head.bias": torch.zeros(9)}), r"text.head.bias.*shape.*\(9,\).*\(8,\)"),
        (lambda t: t["text.head.bias"].fill_(torch.nan), "text.head.bias holds NaN"),
        (lambda t: t["text.head.weight"][0].fill_(torch.inf), "text.head.weight holds NaN or inf"),
        (lambda t: t.update({"text.head.bias": torch.zeros(8, dtype=torch.int64)}), "text.head.bias.*dtype"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tiny, tmp_path, change, message):
    with pytest.raises(ConversionError, match=message):
        convert(Request(source="tiny", destination=tmp_path / "out", checkpoint=spoiled(tiny, change)))
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.safetensors", "spoiled.safetensors"}


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_file_is_refused(tiny, tmp_path, content):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(tiny.read_bytes()[:-100] if content is None else content)
    with pytest.raises(ConversionError, match="damaged.safetensors can't be read"):
        convert(Request(source="tiny", destination=tmp_path / "out", checkpoint=damaged))


def test_calibration_photographs_come_from_a_folder(tmp_path):
    random = np.random.default_rng(0)
    for i in range(9):
        Image.fromarray(random.integers(0, 256, (200 + 20 * i, 900, 3), np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("not a photograph", encoding="utf-8")
    data = load_calibration(tmp_path)
    assert (len(data.calibration), len(data.comparison)) == (7, 2)
    assert {photo.shape[1] for photo in data.calibration} == {640}
    assert "9 photographs" in data.provenance
    heights = [{photo.shape[0] for photo in photos} for photos in (data.calibration, data.comparison)]
    assert not heights[0] & heights[1]  # every picture has its own height, so none is in both


@pytest.mark.parametrize("count", [0, 1])
def test_a_folder_with_too_few_photographs_is_refused(tmp_path, count):
    for i in range(count):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    with pytest.raises(OptionError, match="too few photographs"):
        load_calibration(tmp_path)


def test_a_damaged_photograph_is_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"nothing")
    with pytest.raises(ImageError, match="b.jpg"):
        load_calibration(tmp_path)


def test_the_default_photographs_need_no_download():
    data = load_calibration(None)
    assert len(data.calibration) >= 24 and len(data.comparison) >= 2
    assert all(photo.ndim == 3 and max(photo.shape) <= 640 for photo in (*data.calibration, *data.comparison))


def test_help_needs_no_arguments():
    result = run("--help")
    assert result.exit_code == 0
    for word in ("SOURCE", "--to", "--recipe", "bf16, fp16, fp32", "--plan", "--lora", "--calibration", "--checkpoint"):
        assert word in result.stdout


def test_errors_of_the_command_are_ours(tiny, tmp_path):
    result = run("tiny", "--recipe", "int2", "-o", tmp_path / "out", "--checkpoint", tiny)
    assert isinstance(result.exception, NanoedgeError)
    assert result.exception.exit_code == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--to", "tflite"), "tflite have one size.*--size"),
        (("--to", "gguf", "--size", "512"), "not written in this format.*gguf.*onnx, tflite, coreml"),
        (("--size", "512"), "take every size"),
        (("--to", "coreml", "--size", "512", "--unmeasured"), "can't be skipped"),
        (("--to", "coreml", "--size", "512", "--plan"), "no forecast.*coreml"),
        (("--to", "coreml", "--size", "much"), "Size is not usable.*much"),
    ],
)
def test_options_of_large_models_that_do_not_fit_the_format(tmp_path, options, message):
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(OptionError, match=message):
        raise run(tmp_path / "checkpoint", *options, "-o", tmp_path / "out").exception
    assert not (tmp_path / "out").exists()


def test_a_size_for_a_small_model_is_refused(tiny, tmp_path):
    result = run("tiny", "--size", "512", "-o", tmp_path / "out", "--checkpoint", tiny)
    assert isinstance(result.exception, OptionError) and "--size is for folders" in str(result.exception)
