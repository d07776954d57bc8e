"""DreamLite's denoiser and autoencoder at one size, in both formats for phones, on a tiny checkpoint.

TFLite runs in LiteRT, Core ML in the interpreter; both beside torch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click.testing
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from converters import pinned
from converters.capture import capture
from converters.cli import convert as command
from converters.component import convert_component
from converters.coreml.checks import check_structure
from converters.coreml.interpreter import Interpreter
from converters.job import Task
from converters.layers import planned_layers
from converters.parity import measure, reference_outputs
from converters.recipe import load_recipe
from converters.source import run_module
from converters.streaming import write_component
from edge_runtime import plugins
from edge_runtime.artifact import Artifact
from edge_runtime.editor import Editor
from edge_runtime.errors import ArtifactError, ConversionError, NanoedgeError, OptionError
from edge_runtime.inspection import verify

pytestmark = pytest.mark.slow
FAMILY = "dreamlite"
SIZE = (96, 64)
PARTS = ("denoiser", "vae_encoder", "vae_decoder")
TARGETS = ("tflite", "coreml")


@pytest.fixture(scope="module")
def parts(model):
    """Every component that phones get, at SIZE, with its weights in memory."""
    return {part.name: pinned.in_memory(part.pinned(*SIZE)) for part in model.components if part.pinned is not None}


@pytest.fixture(scope="module")
def floats(parts, tmp_path_factory):
    """Return a function that gives the file of a component in float, which is written once."""
    written: dict[tuple[str, str], Path] = {}

    def file(target: str, name: str) -> Path:
        if (target, name) not in written:
            form = plugins.load("converters.targets", target)
            written[target, name] = tmp_path_factory.mktemp(target) / f"{name}{form.suffix}"
            form.export(parts[name], written[target, name])
        return written[target, name]

    return file


def test_what_phones_get_has_one_size(parts):
    assert tuple(parts) == PARTS
    shapes = {name: [spec.shape for spec in (*part.inputs, *part.outputs)] for name, part in parts.items()}
    assert shapes["vae_encoder"] == [(1, 3, 64, 96), (1, 4, 8, 12)]
    assert shapes["vae_decoder"] == [(1, 4, 8, 12), (1, 3, 64, 96)]
    assert shapes["denoiser"] == [(1, 4, 8, 24), (1,), (1, "text_tokens", 64), (1, 2), (1, 4, 8, 24)]
    assert all(part.working is None for part in parts.values())


def test_the_longest_text_fits(model, parts):
    text, vision = model.settings["text"], model.settings["vision"]
    words = text["instruction"].format("x" * text["most_tokens"])  # the tiny tokenizer has a token for each letter
    written = Tokenizer.from_str(model.files["tokenizer"].decode()).encode(text["template"].format(words)).ids
    image = (vision["pixels"] // vision["patch"] // vision["merge"]) ** 2
    tokens = len(written) - 1 + image - text["dropped_tokens"]
    (sizes,) = parts["denoiser"].fixed.sizes
    assert 0 <= sizes["text_tokens"] - tokens < 64


def test_a_text_that_is_filled_up_is_read_as_it_is(parts):
    part = parts["denoiser"]
    example = part.examples[0]
    expected = run_module(part.module(), part, example)["prediction"]
    tokens = example["encoder_hidden_states"]
    filled = np.concatenate((tokens, np.full((1, 40, tokens.shape[2]), 50, np.float32)), axis=1)
    inputs = [example["hidden_states"], example["timestep"], filled, example["time_ids"], [float(tokens.shape[1])]]
    with torch.inference_mode():
        found = part.fixed.module()(*(torch.tensor(np.array(each)) for each in inputs)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("size", "allowed"), [((100, 96), "multiples of 16"), ((32, 64), "64 to 2048")])
def test_sizes_that_results_can_not_have(model, size, allowed):
    task = Task(checkpoint="", recipe="int8", folder="", target="coreml", size=size)
    with pytest.raises(OptionError, match=allowed):
        pinned.pinned_model(model, task)


def test_a_size_that_the_unet_can_not_halve(model):
    part = next(part for part in model.components if part.name == "denoiser")
    with pytest.raises(OptionError, match="multiples of 32"):
        part.pinned(528, 512)


def test_recipes_and_families_that_have_no_such_form(model):
    task = Task(checkpoint="", recipe="nf4", folder="", target="tflite", size=SIZE)
    with pytest.raises(ConversionError, match="nf4 can't be written as TFLite"):
        pinned.pinned_model(model, task)
    others = replace(model, family="other", components=tuple(replace(part, pinned=None) for part in model.components))
    with pytest.raises(ConversionError, match="family other.*tflite.*Allowed: onnx"):
        pinned.pinned_model(others, replace(task, recipe="int8"))


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("target", TARGETS)
def test_float_files_compute_what_torch_computes(parts, floats, target, name):
    runners = plugins.load("converters.targets", target).runners(parts[name], floats(target, name))
    parity = measure(parts[name], reference_outputs(parts[name]), runners, "fp32")
    parity.require()
    assert parity.figures[0].value > 80  # dB: nothing but the order of sums differs


@pytest.mark.parametrize(
    ("target", "recipe"),
    [("tflite", "int8"), ("tflite", "int4"), ("coreml", "fp16"), ("coreml", "int8"), ("coreml", "int4")],
)
@pytest.mark.parametrize("name", PARTS)
def test_small_files_keep_their_limits(parts, floats, tmp_path, target, name, recipe):
    form, part = plugins.load("converters.targets", target), parts[name]
    small = tmp_path / f"{name}{form.suffix}"
    written = form.quantise(part, load_recipe(recipe).without_rows(), floats(target, name), small)
    measure(part, reference_outputs(part), form.runners(part, small), written.precision).require()
    assert bytes_of(small) < {"fp16": 0.6}.get(recipe, 0.5) * bytes_of(floats(target, name))
    if target == "coreml":
        assert check_structure(small, part) == (18 if "int4" in written.precision else 17)


@pytest.mark.parametrize("recipe", ["int8", "int4"])
@pytest.mark.parametrize("name", PARTS)
def test_the_same_layers_get_the_same_bits_as_in_onnx(model, parts, tmp_path, name, recipe):
    component = next(part for part in model.components if part.name == name)
    streamed = write_component(capture(component), component, load_recipe(recipe), tmp_path)
    onnx = {each.tensor: each.precision for each in streamed.layers if each.precision != "fp32" and not each.promoted}
    plan = planned_layers(parts[name], load_recipe(recipe))
    promoted = {each.tensor for each in streamed.layers if each.promoted}
    assert onnx == {name: scheme.weights.precision for name, scheme in plan.items() if name not in promoted}
    assert onnx


def test_core_ml_holds_the_plan_and_knows_its_sizes(parts, tmp_path):
    part = parts["vae_decoder"]
    made = convert_component(
        part, plugins.load("converters.targets", "coreml"), load_recipe("int8"), tmp_path, lambda step: None
    )
    assert made.parity.precision == "int8-fp16" and "8-bit activations" in made.note
    interpreter = Interpreter(made.file)
    packed = {each.name for each in interpreter.operations if each.op_type == "constexpr_affine_dequantize"}
    assert len(packed) == len(planned_layers(part, load_recipe("int8")))
    (image,) = interpreter.specification.description.output
    assert list(image.type.multiArrayType.shape) == [1, 3, 64, 96]


@pytest.fixture(scope="module")
def artifact(checkpoint, tmp_path_factory):
    """What the command writes for TFLite, in float."""
    folder = tmp_path_factory.mktemp("command") / "artifact"
    options = ["--to", "tflite", "--recipe", "fp32", "--size", "96x64", "-o", str(folder)]
    result = click.testing.CliRunner().invoke(command, [str(checkpoint), *options])
    assert result.exception is None, result.exception
    assert "not in this artifact: vision_encoder, text_encoder, tokenizer" in result.stdout
    return folder


def test_the_artifact_says_what_it_holds_and_runs(artifact):
    opened_artifact = Artifact.open(artifact)
    manifest = opened_artifact.manifest
    assert (manifest.family, manifest.target, manifest.recipe) == ("dreamlite", "tflite", "fp32")
    assert [part.name for part in manifest.components] == list(PARTS)
    assert manifest.settings["absent"] == ["vision_encoder", "text_encoder", "tokenizer"]
    assert manifest.settings["result_size"] == list(SIZE)
    assert list(manifest.settings["fixed_sizes"]) == ["denoiser"]
    assert "litert-torch" in manifest.provenance["tools"] and "diffusers" in manifest.provenance["tools"]
    assert [check.problem for check in verify(opened_artifact)] == ["", "", ""]
    assert {path.name for path in artifact.iterdir()} == {"manifest.json", *(f"{name}.tflite" for name in PARTS)}


def test_it_refuses_to_edit_by_itself(artifact):
    with pytest.raises(ArtifactError, match=r"only a part of dreamlite-mobile.*vision_encoder.*--to onnx"):
        Editor.open(artifact)


def test_another_size_is_refused(artifact):
    whole = Artifact.open(artifact)
    engine = plugins.load("engines", "litert")
    session = engine.open(whole.path("vae_decoder"), whole.manifest.component("vae_decoder"), threads=1)
    with session, pytest.raises(NanoedgeError, match="latents"):
        session.run({"latents": np.zeros((1, 4, 8, 8), np.float32)})


def test_an_app_paints_with_it_as_onnx_does(artifact, checkpoint, tmp_path):
    """The words are read in ONNX, everything else runs in LiteRT: what an app puts together."""
    from painting import photograph, pixels, request
    from tiny.artifact import converted

    onnx = converted(checkpoint, tmp_path)["fp32"]
    wanted = request(photograph(*SIZE), "make it snowy")
    with Editor.open(onnx, threads=1) as editor:
        expected = pixels(editor.edit(wanted))
    whole, engine = Artifact.open(artifact), plugins.load("engines", "litert")
    with Editor.open(onnx, threads=1) as editor:
        for name in PARTS:
            session = engine.open(whole.path(name), whole.manifest.component(name), threads=1)
            editor._model.components._sessions[name] = session
        found = pixels(editor.edit(wanted))
    assert 10 * np.log10(1 / max(np.square(found - expected).mean(), 1e-12)) > 50
    assert expected.std() > 0.05


def bytes_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
