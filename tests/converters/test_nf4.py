"""NF4 against bitsandbytes, bit for bit, and through real onnxruntime sessions with and without optimisation."""

import hashlib
from collections import Counter

import bitsandbytes.functional
import numpy as np
import onnx
import pytest
import torch
from stand_ins import mask_component, seeded, text_component
from torch import nn

from converters.nf4 import LEVELS, restore_nf4, round_nf4
from converters.parity import measure, reference_outputs
from converters.recipe import Format, Layer, Recipe, load_recipe
from converters.source import ComponentSource
from converters.targets.onnx import TARGET
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec

BLOCK = 64
NF4 = {"format": "nf4", "bits": 4, "granularity": "block", "group_size": BLOCK}
WIDEST_STEP = float(np.diff(LEVELS).max())


def recipe(weights: dict[str, object], layer: str = "matmul", **scheme: object) -> Recipe:
    layers = {layer: {"weights": weights, **scheme}}
    return Recipe.from_json("odd", {"description": "", "layers": layers, "calibration": {"samples": 4}})


def by_bitsandbytes(weight: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantise as QLoRA does: torch keeps the weight of a linear layer as (outputs, inputs)."""
    of_torch = torch.from_numpy(np.ascontiguousarray(weight.T))
    packed, state = bitsandbytes.functional.quantize_4bit(of_torch, blocksize=block, quant_type="nf4")
    return packed.numpy().ravel(), state.absmax.numpy()


def test_the_levels_are_those_of_bitsandbytes():
    theirs = bitsandbytes.functional.get_4bit_type("nf4", device="cpu").numpy()
    assert LEVELS.tobytes() == theirs.astype(np.float32).tobytes()


@pytest.mark.parametrize("shape", [(64, 8), (70, 37), (33, 3), (1, 1), (128, 96), (63, 1), (65, 1), (1000, 3)])
@pytest.mark.parametrize("block", [64, 128])
def test_codes_and_scales_are_those_of_bitsandbytes(shape, block):
    random = np.random.default_rng(0)
    zeros = random.normal(size=shape)
    zeros[:, -1] = 0.0
    halves = np.concatenate([(LEVELS[:-1] + LEVELS[1:]) / 2, LEVELS])  # ties
    weights = {
        "normal": random.normal(size=shape),
        "heavy": 1e-3 * random.standard_t(3, size=shape),
        "a column of zeros": zeros,
        "zeros": np.zeros(shape),
        "ties": random.choice(halves, size=shape),
        "small": 1e-39 * random.normal(size=shape),
    }
    for name, weight in weights.items():
        weight = weight.astype(np.float32)
        packed, largest = round_nf4(weight, block)
        expected, expected_largest = by_bitsandbytes(weight, block)
        assert packed.dtype == np.uint8 and packed.tobytes() == expected.tobytes(), name
        assert largest.dtype == np.float32 and largest.tobytes() == expected_largest.tobytes(), name


@pytest.mark.parametrize("shape", [(64, 8), (70, 37), (33, 3)])
def test_restored_weights_are_off_by_half_a_step_at_most(shape):
    weight = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    weight[:, 1] = 0.0
    restored = restore_nf4(*round_nf4(weight, BLOCK), weight.shape, BLOCK)
    assert restored.shape == weight.shape and restored.dtype == np.float32
    assert np.abs(restored - weight).max() <= np.abs(weight).max() * WIDEST_STEP / 2
    assert (restored[:, 1] == 0.0).all()


class Linear(nn.Module):
    """float32 (rows, 70) -> (rows, 37): blocks reach across outputs, and the last one is short."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(70, 37)
        with torch.no_grad():
            self.linear.weight[3] = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


def linear_component() -> ComponentSource:
    random = np.random.default_rng(2)
    return ComponentSource(
        name="linear",
        module=lambda: seeded(Linear),
        inputs=(TensorSpec(name="x", dtype="float32", shape=("rows", 70)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("rows", 37)),),
        dimensions={"rows": (1, 100)},
        examples=tuple({"x": random.normal(size=(rows, 70)).astype(np.float32)} for rows in (5, 1)),
    )


def test_sessions_compute_with_the_restored_weights(tmp_path):
    component = linear_component()
    TARGET.export(component, tmp_path / "float.onnx")
    precision = TARGET.quantise(component, recipe(NF4), tmp_path / "float.onnx", tmp_path / "nf4.onnx").precision
    assert precision == "nf4"
    layer = component.module().linear
    weight, bias = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
    restored = restore_nf4(*round_nf4(weight, BLOCK), weight.shape, BLOCK)
    runners = TARGET.runners(component, tmp_path / "nf4.onnx")
    assert len(runners) == 2
    for runner in runners:
        for example in component.examples:
            np.testing.assert_allclose(runner(example)["y"], example["x"] @ restored + bias, atol=1e-5)
    parity = measure(component, reference_outputs(component), runners, precision)
    assert parity.failure is None, parity.failure
    assert next(figure.limit for figure in parity.figures if figure.name == "snr_db") == 12.0  # that of int4


def test_the_recipe_writes_onnxruntimes_operator_for_products_alone(exported, tmp_path):
    component, file = text_component(), tmp_path / "nf4.onnx"
    precision = TARGET.quantise(component, load_recipe("nf4"), exported / "text.onnx", file).precision
    assert precision == "nf4-int8"
    parity = measure(component, reference_outputs(component), TARGET.runners(component, file), precision)
    assert parity.failure is None, parity.failure
    model = onnx.load(file)
    operators = Counter((node.domain, node.op_type) for node in model.graph.node)
    products = sum(node.op_type == "MatMul" for node in onnx.load(exported / "text.onnx").graph.node)
    assert operators["com.microsoft", "MatMulBnb4"] == products > 0
    assert {domain for domain, operator in operators if operator != "MatMulBnb4"} == {""}
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 21), ("com.microsoft", 1)]
    # two codes a byte; the embedding has 8 bits
    sizes = {len(tensor.raw_data) for tensor in model.graph.initializer if tensor.name.endswith(".nf4")}
    assert sizes == {64 * 8 // 2, 64 * 64 // 2}
    assert onnx.TensorProto.INT8 in {tensor.data_type for tensor in model.graph.initializer}


def test_convolutions_are_as_in_int8(exported, tmp_path):
    digests = set()
    for name in ("int8", "nf4"):
        TARGET.quantise(mask_component(), load_recipe(name), exported / "vision.onnx", tmp_path / "vision.onnx")
        digests.add(hashlib.sha256((tmp_path / "vision.onnx").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_the_recipe_is_known():
    weights = load_recipe("nf4").layers[Layer.MATMUL].weights
    assert (weights.format, weights.bits, weights.group_size, weights.precision) == (Format.NF4, 4, BLOCK, "nf4")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 8}, "4 bits, in blocks"),
        ({"granularity": "channel", "group_size": None}, "4 bits, in blocks"),
        ({"searched": True}, "searched"),
        ({"reduced_range": True}, "reduced_range"),
        ({"rank": 32}, "rank"),
        ({"format": "nf5"}, "nf5"),
        ({"group_size": 33}, "Group_size"),
    ],
)
def test_schemes_that_are_no_nf4_are_refused(changes, message):
    with pytest.raises(ConversionError, match=message):
        recipe({**NF4, **changes})


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (recipe({**NF4, "group_size": 512}), "512.*Allowed: 16, 32, 64, 128, 256"),
        (recipe(NF4, "convolution", activations={"bits": 8, "signed": False}), "matrix products"),
        (recipe(NF4, activations={"bits": 8, "signed": False}), "weights alone"),
        (recipe(NF4, "embedding"), "embeddings"),
    ],
)
def test_what_onnxruntime_has_no_nf4_for_is_refused(odd, message, exported, tmp_path):
    with pytest.raises(ConversionError, match=message):
        TARGET.quantise(text_component(), odd, exported / "text.onnx", tmp_path / "odd.onnx")
