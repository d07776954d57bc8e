"""Core ML packages of small real networks: what is written, what it computes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import mask_component, odd_component, seeded, text_component
from torch import Tensor, nn
from torch.nn import functional

from converters.component import convert_component
from converters.coreml.checks import check_structure, check_weights
from converters.coreml.interpreter import Interpreter
from converters.coreml.package import read_package
from converters.fused import with_fused_norms
from converters.layers import planned_layers
from converters.recipe import load_recipe
from converters.source import ComponentSource, run_module
from converters.targets.coreml import TARGET
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec

REPOSITORY = str(Path(__file__).resolve().parents[3]).encode()


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder with the float packages of both stand-ins. Read only."""
    folder = tmp_path_factory.mktemp("float")
    for source in (mask_component(), text_component()):
        TARGET.export(source, folder / f"{source.name}.mlpackage")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def quantised(source: ComponentSource, recipe: str, folder: Path) -> tuple[Path, str]:
    """Write a component by a recipe; return the package and its precision."""
    package = folder / f"{source.name}-{recipe}.mlpackage"
    return package, TARGET.quantise(source, load_recipe(recipe).without_rows(), Path(), package).precision


def test_a_package_has_what_apples_tools_look_for(packages):
    files = contents(packages / "vision.mlpackage")
    assert set(files) == {
        "Manifest.json",
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
    }
    table = json.loads(files["Manifest.json"])
    paths = {entry["path"] for entry in table["itemInfoEntries"].values()}
    assert paths == {"com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights"}
    assert table["itemInfoEntries"][table["rootModelIdentifier"]]["path"] == "com.apple.CoreML/model.mlmodel"


def test_pictures_are_floats_and_symbols_are_ranges(packages):
    spec, _ = read_package(packages / "vision.mlpackage")
    assert spec.WhichOneof("Type") == "mlProgram"
    (image,) = spec.description.input
    assert image.type.multiArrayType.dataType == image.type.multiArrayType.FLOAT32
    spec, _ = read_package(packages / "text.mlpackage")
    (tokens,) = spec.description.input
    assert tokens.type.multiArrayType.dataType == tokens.type.multiArrayType.INT32
    ranges = [(each.lowerBound, each.upperBound) for each in tokens.type.multiArrayType.shapeRange.sizeRanges]
    assert ranges == [(1, 1), (1, 64)]


@pytest.mark.parametrize("length", [1, 2, 17, 64])
def test_dynamic_sizes_compute_what_torch_computes(packages, length):
    source = text_component()
    tokens = {"tokens": np.arange(1, 1 + length, dtype=np.int32)[None]}
    expected = run_module(source.module(), source, tokens)
    (runner,) = TARGET.runners(source, packages / "text.mlpackage")
    for name, array in runner(tokens).items():
        np.testing.assert_allclose(array, expected[name], atol=1e-5)


@pytest.mark.slow
def test_same_weights_same_bytes(packages, tmp_path):
    for source in (mask_component(), text_component()):
        TARGET.export(source, tmp_path / source.name)
        assert contents(tmp_path / source.name) == contents(packages / f"{source.name}.mlpackage")
    first, _ = quantised(text_component(), "int4", tmp_path)
    (tmp_path / "again").mkdir()
    second, _ = quantised(text_component(), "int4", tmp_path / "again")
    assert contents(first) == contents(second)


def test_nothing_about_the_machine_gets_into_the_files(packages):
    for content in contents(packages).values():
        assert REPOSITORY not in content and b".py" not in content and b"conversion_date" not in content


@pytest.mark.parametrize(
    ("recipe", "precision", "system", "operation"),
    [
        ("fp16", "fp16", 17, None),
        ("int8", "int8-fp16", 17, "constexpr_affine_dequantize"),
        ("int4", "int4-int8-fp16", 18, "constexpr_blockwise_shift_scale"),
        ("int4-channel", "int4-int8-fp16", 18, "constexpr_blockwise_shift_scale"),
        ("int4-palette", "int4-int8-fp16", 18, "constexpr_lut_to_dense"),
    ],
)
def test_recipes_become_the_formats_own_operations(tmp_path, recipe, precision, system, operation):
    source = text_component()
    package, found = quantised(source, recipe, tmp_path)
    assert found == precision and check_structure(package, source) == system
    kinds = {each.op_type for each in Interpreter(package).operations}
    assert operation in kinds if operation else not any(kind.startswith("constexpr") for kind in kinds)


def test_layers_outside_the_plan_keep_their_float_weights(tmp_path):
    source = text_component(exclude=("head*",))
    package, _ = quantised(source, "int4", tmp_path)
    compressed = {
        each.outputs[0].name for each in Interpreter(package).operations if each.op_type.startswith("constexpr")
    }
    assert set(planned_layers(source, load_recipe("int4").without_rows())) == {"bytes.weight", "hidden.weight"}
    assert len(compressed) == 2 and not any("head" in name for name in compressed)


@pytest.mark.parametrize(("recipe", "least_db", "share"), [("int8", 40.0, 0.3), ("int4", 19.0, 0.3)])
def test_weights_read_back_are_near_the_checkpoints(packages, tmp_path, recipe, least_db, share):
    source = text_component()
    parameters = {f"p_module_{name.replace('.', '_')}": name for name, _ in source.module().named_parameters()}
    assert min(check_weights(packages / "text.mlpackage", source, parameters, {}).values()) == 200.0
    package, _ = quantised(source, recipe, tmp_path)
    plan = planned_layers(source, load_recipe(recipe).without_rows())
    schemes = {name: scheme.weights for name, scheme in plan.items()}
    found = check_weights(package, source, parameters, schemes)
    assert set(found) == set(parameters.values())
    assert least_db < min(found[name] for name in schemes) < 60.0
    weights = [path.stat().st_size for path in tmp_path.rglob("weight.bin")]
    assert weights[0] < share * (packages / "text.mlpackage/Data/com.apple.CoreML/weights/weight.bin").stat().st_size


def test_a_weight_that_is_not_the_checkpoints_is_named(packages):
    other = text_component(lambda: seeded(text_component().module().__class__, seed=1))
    with pytest.raises(ConversionError, match=r"weight bytes\.weight is not.*dB.*Exclude the layer"):
        check_weights(packages / "text.mlpackage", other, {"p_module_bytes_weight": "bytes.weight"}, {})


def test_a_package_of_other_sides_is_refused(packages):
    with pytest.raises(ConversionError, match="other inputs or outputs than described. Got image"):
        check_structure(packages / "vision.mlpackage", text_component())
    wider = text_component(dimensions={"tokens": (1, 65)})
    with pytest.raises(ConversionError, match="tokens is not as described"):
        check_structure(packages / "text.mlpackage", wider)


@pytest.mark.parametrize("recipe", ["fp16", "int8", "int4-channel"])
def test_a_converted_component_keeps_its_limits(tmp_path, recipe):
    converted = convert_component(mask_component(), TARGET, load_recipe(recipe), tmp_path, lambda line: None)
    assert converted.parity.failure is None and converted.parity.precision.endswith("fp16")
    described = converted.describe()
    assert described.file == "vision.mlpackage/Manifest.json" and len(described.data) == 2
    assert {described.name, *(part.file for part in described.data)} == set(converted.contents())
    assert described.inputs[0].dtype == "uint8"
    assert ("8-bit activations" in described.note) == (recipe != "fp16")


class Narrow(nn.Module):
    """Its 24 inputs are no whole number of blocks of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(4, 24), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        return self.narrow(torch.relu(self.wide(x)))


def test_blocks_that_do_not_fit_become_channels_and_the_note_says_so(tmp_path):
    source = odd_component(Narrow)
    written = TARGET.quantise(source, load_recipe("int4").without_rows(), Path(), tmp_path / "odd.mlpackage")
    assert written.note == "4 bits by channel where blocks don't fill the inputs: wide.weight, narrow.weight"
    # half a byte a weight, and two bytes of scale and half a byte of zero point for each of 28 outputs
    assert written.layers == {"int4": (192, 96 + 28 * 2 + 14)}


class Normed(nn.Module):
    """A convolution with batch normalisation, as `vision` has them, and pixels in 8 bits on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.block[1].running_mean.uniform_(-1, 1)
        self.block[1].running_var.uniform_(0.5, 2)

    def forward(self, image: Tensor) -> Tensor:
        """Return uint8 like image."""
        changed = self.block(image.permute(0, 3, 1, 2).float())
        return (128 + changed).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def normed() -> ComponentSource:
    spec = ("uint8", (1, "height", "width", 4))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 12, 4)).astype(np.uint8)
    return odd_component(
        Normed,
        inputs=(TensorSpec(name="image", dtype=spec[0], shape=spec[1]),),
        outputs=(TensorSpec(name="changed", dtype=spec[0], shape=spec[1]),),
        dimensions={"height": (1, 64), "width": (1, 64)},
        examples=({"image": pixels},),
    )


def test_batch_norms_become_part_of_convolutions_under_their_names():
    source = normed()
    example = source.examples[0]
    folded = with_fused_norms(source.module())
    assert "block.0.weight" in dict(folded.named_parameters()) and not list(folded.buffers())
    expected = run_module(source.module(), source, example)["changed"].astype(int)
    assert np.abs(run_module(folded, source, example)["changed"].astype(int) - expected).max() <= 1


def test_pictures_go_in_and_come_out_as_the_manifest_says(tmp_path):
    source = normed()
    TARGET.export(source, tmp_path / "odd.mlpackage")
    (runner,) = TARGET.runners(source, tmp_path / "odd.mlpackage")
    found = runner(source.examples[0])["changed"]
    expected = run_module(source.module(), source, source.examples[0])["changed"]
    assert found.dtype == np.uint8 and np.abs(found.astype(int) - expected).max() <= 1


class Enlarged(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        half = x[: (x.shape[0] + 1) // 2].reshape(1, 1, -1, 4)
        return functional.interpolate(half, size=x.shape, mode="bilinear").reshape(-1, 4) * (1.0 / (x + 9.0))


def test_sizes_that_are_computed_and_reciprocals_are_exact(tmp_path):
    source = odd_component(Enlarged)
    TARGET.export(source, tmp_path / "odd.mlpackage")
    (runner,) = TARGET.runners(source, tmp_path / "odd.mlpackage")
    inputs = {"x": np.random.default_rng(0).normal(0, 1, (7, 4)).astype(np.float32)}
    np.testing.assert_allclose(runner(inputs)["y"], run_module(Enlarged(), source, inputs)["y"], rtol=1e-5)


class Ordered(nn.Module):
    """Its second layer solves equations, for which Core ML has no operation."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), Solved())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Solved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.solve(torch.eye(4) * 2, x.T).T


class Undecided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Ordered, r"Odd: Core ML can't express an operation of layers\.1\..*linalg_solve.*torch_operations"),
        (Undecided, "Odd can't be traced"),
    ],
)
def test_what_the_format_has_no_operation_for_is_named(tmp_path, module, message):
    with pytest.raises(ConversionError, match=message):
        TARGET.export(odd_component(module), tmp_path / "odd.mlpackage")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("nf4", "nf4: Core ML has no form.*kind matmul. Got format nf4. Allowed: integer, float16, palette"),
        ("bf16", "bf16: Core ML has no form.*kind convolution. Got format bfloat16"),
        ("int4-lr32", "int4-lr32: no such weights are written for Core ML.*kind matmul.*rank 32.*take recipe"),
    ],
)
def test_recipes_that_the_format_can_not_hold_are_refused(recipe, message):
    with pytest.raises(ConversionError, match=f"(?i){message}"):
        TARGET.check(load_recipe(recipe))


def test_an_example_that_would_fix_a_size_is_refused(tmp_path):
    single = odd_component(Enlarged, examples=({"x": np.ones((1, 4), np.float32)},))
    with pytest.raises(ConversionError, match="every symbol a size above 1"):
        TARGET.export(single, tmp_path / "odd.mlpackage")
