"""Recipes applied to tiny real networks; onnxruntime runs every graph, with and without its optimiser."""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, DefaultWeightOnlyQuantizer
from stand_ins import mask_component, seeded, text_component
from torch import nn

from converters.parity import measure, reference_outputs
from converters.quantise import quantise
from converters.recipe import Granularity, Layer, Recipe, WeightScheme, load_recipe
from converters.rounding import round_weight
from converters.slabs import round_matrix
from converters.source import ComponentSource
from converters.targets.onnx import TARGET
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec

BLOCKS = {"matmul": {"weights": {"bits": 8, "granularity": "block", "group_size": 16}}}
BLOCKS_8 = Recipe.from_json("blocks", {"description": "", "layers": BLOCKS})
SEVEN_BITS = {"bits": 8, "granularity": "channel", "reduced_range": True}
STATIC = Recipe.from_json(
    "static",
    {
        "description": "",
        "layers": {"matmul": {"weights": SEVEN_BITS, "activations": {"bits": 8, "signed": False}}},
        "between": ["add", "relu"],
        "calibration": {"samples": 8},
    },
)


def quantised(component: ComponentSource, recipe: Recipe, exported, tmp_path):
    """Quantise, and return the graph, its precision and the figures."""
    file = tmp_path / f"{recipe.name}.onnx"
    precision = TARGET.quantise(component, recipe, exported / f"{component.name}.onnx", file).precision
    parity = measure(component, reference_outputs(component), TARGET.runners(component, file), precision)
    return onnx.load(file), precision, parity


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def types(model: onnx.ModelProto) -> set[int]:
    return {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1}


def test_int8_convolutions_run_and_agree(exported, tmp_path):
    model, precision, parity = quantised(mask_component(), load_recipe("int8"), exported, tmp_path)
    assert precision == "int8"
    assert parity.failure is None, parity.failure
    assert types(model) == {onnx.TensorProto.INT8}
    assert operators(model)["QuantizeLinear"] > 0
    # the weights of all three convolutions in 7 of 8 bits
    kernels = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) == 4]
    assert len(kernels) == 3 and all(np.abs(kernel).max() <= 64 for kernel in kernels)


def test_int8_scales_are_per_output_channel(exported, tmp_path):
    model, _, _ = quantised(mask_component(), load_recipe("int8"), exported, tmp_path)
    lengths = {len(onnx.numpy_helper.to_array(t)) for t in model.graph.initializer if t.name.endswith("weight_scale")}
    assert lengths == {32, 1}  # 1 is the head's one channel


def test_int8_matrix_products_and_embedding(exported, tmp_path):
    model, precision, parity = quantised(text_component(), load_recipe("int8"), exported, tmp_path)
    assert precision == "int8"
    assert parity.failure is None, parity.failure
    assert types(model) == {onnx.TensorProto.INT8}


def test_matrix_products_with_quantised_activations(exported, tmp_path):
    model, precision, parity = quantised(text_component(), STATIC, exported, tmp_path)
    assert precision == "int8"
    assert parity.failure is None, parity.failure
    assert operators(model)["QuantizeLinear"] > 0


def test_int4_packs_matrix_products_and_keeps_embeddings_at_8_bits(exported, tmp_path):
    model, precision, parity = quantised(text_component(), load_recipe("int4").without_rows(), exported, tmp_path)
    assert precision == "int4-int8"
    assert parity.failure is None, parity.failure
    assert onnx.TensorProto.UINT4 in types(model)
    assert set(operators(model)) <= {"Gather", "Cast", "Mul", "DequantizeLinear", "MatMul", "Add", "Relu", "ReduceMax"}


def test_only_standard_operators_come_out(exported, tmp_path):
    for component in (mask_component(), text_component()):
        for name in ("int8", "int4"):
            model, _, _ = quantised(component, load_recipe(name).without_rows(), exported, tmp_path)
            assert {node.domain for node in model.graph.node} == {""}
            assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 21)]


def test_8_bits_in_blocks_without_activations(exported, tmp_path):
    model, precision, parity = quantised(text_component(), BLOCKS_8, exported, tmp_path)
    assert precision == "int8"
    assert min(f.value for f in parity.figures if f.name == "snr_db") > 30
    assert "QuantizeLinear" not in operators(model)


def test_what_float_operations_give_each_other_stays_float():
    kernel = np.random.default_rng(0).normal(size=(4, 4, 1, 1)).astype(np.float32)
    shape = [1, 4, 8, 8]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("Abs", ["x"], ["stream"], "abs"),
                onnx.helper.make_node("Conv", ["stream", "kernel"], ["changed"], "conv"),
                onnx.helper.make_node("Add", ["stream", "changed"], ["y"], "add"),
            ],
            "residual",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
            [onnx.numpy_helper.from_array(kernel, "kernel")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 21)],
        ir_version=10,
    )
    samples = [{"x": np.random.default_rng(1).normal(size=shape).astype(np.float32)}]
    recipe = load_recipe("int8")
    result, _ = quantise(model, recipe, samples, {"kernel": recipe.layers[Layer.CONVOLUTION]})
    makers = {output: node.op_type for node in result.graph.node for output in node.output}
    add = next(node for node in result.graph.node if node.op_type == "Add")
    assert [makers[name] for name in add.input] == ["Abs", "DequantizeLinear"]
    assert makers[next(node.input[0] for node in result.graph.node if node.op_type == "Conv")] == "DequantizeLinear"


def test_a_recipe_without_fitting_layers_changes_nothing(exported, tmp_path):
    _, precision, _ = quantised(mask_component(), BLOCKS_8, exported, tmp_path)
    assert precision == "fp32"


def test_excluded_layers_stay_float(exported, tmp_path):
    component = mask_component(exclude=("head.*",))
    model, _, _ = quantised(component, load_recipe("int8"), exported, tmp_path)
    floats = [t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 4]
    assert floats == ["head.weight"]


def test_same_input_same_bytes(exported, tmp_path):
    for component in (mask_component(), text_component()):
        for name in ("int8", "int4"):
            digests = set()
            for run in ("first", "second"):
                file = tmp_path / f"{run}.onnx"
                TARGET.quantise(component, load_recipe(name).without_rows(), exported / f"{component.name}.onnx", file)
                digests.add(hashlib.sha256(file.read_bytes()).hexdigest())
            assert len(digests) == 1


def test_without_calibration_inputs_it_says_so(exported, tmp_path):
    with pytest.raises(ConversionError, match="calibration"):
        quantised(mask_component(calibration=tuple), load_recipe("int8"), exported, tmp_path)


@pytest.mark.parametrize(
    "layers",
    [
        {"convolution": {"weights": {"bits": 4, "granularity": "channel"}}},
        {"embedding": {"weights": {"bits": 8, "granularity": "tensor"}}},
        {
            "convolution": {
                "weights": {"bits": 4, "granularity": "channel"},
                "activations": {"bits": 8, "signed": False},
            }
        },
    ],
)
def test_what_onnx_cannot_hold_is_refused(exported, tmp_path, layers):
    recipe = Recipe.from_json(
        "odd", {"description": "", "layers": layers, "calibration": {"samples": 4}}
    )
    with pytest.raises(ConversionError):
        quantised(mask_component(), recipe, exported, tmp_path)


class Masked(nn.Module):
    """A sum with minus infinity between two linear layers, as in attention."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x):
        scores = self.first(x) + torch.where(x > 1.0, -torch.inf, 0.0)
        return self.second(torch.softmax(scores, dim=-1))


def test_a_sum_with_a_float_side_stays_float(tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    spec = {"dtype": "float32", "shape": (4, 16)}
    component = ComponentSource(
        name="masked",
        module=lambda: seeded(Masked),
        inputs=(TensorSpec(name="x", **spec),),
        outputs=(TensorSpec(name="y", **spec),),
        examples=({"x": x},),
        calibration=lambda: ({"x": x},),
    )
    TARGET.export(component, tmp_path / "masked.onnx")
    _, precision, parity = quantised(component, STATIC, tmp_path, tmp_path)
    assert precision == "int8"
    assert parity.failure is None, parity.failure


def test_full_range_would_saturate_on_this_kind_of_processor_or_agree(exported, tmp_path):
    """`reduced_range` costs little even where it isn't needed."""
    full = {
        "description": "",
        "layers": {
            "convolution": {
                "weights": {"bits": 8, "granularity": "channel"},
                "activations": {"bits": 8, "signed": False},
            }
        },
        "calibration": {"samples": 8},
    }
    _, _, loose = quantised(mask_component(), Recipe.from_json("full", full), exported, tmp_path)
    _, _, tight = quantised(mask_component(), load_recipe("int8"), exported, tmp_path)
    figures = [next(f.value for f in parity.figures if f.name == "snr_db") for parity in (tight, loose)]
    assert figures[0] > figures[1] - 6


def restored(codes: np.ndarray, scales: np.ndarray, group: int | None) -> np.ndarray:
    rows = codes.shape[0]
    wide = np.repeat(scales, group, 0)[:rows] if group else scales
    return codes.astype(np.float32) * wide


@pytest.mark.parametrize(
    ("scheme", "bound"),
    [
        (WeightScheme(bits=8, granularity=Granularity.TENSOR), 1 / 128),
        (WeightScheme(bits=8, granularity=Granularity.CHANNEL), 1 / 128),
        (WeightScheme(bits=8, granularity=Granularity.CHANNEL, reduced_range=True), 1 / 64),
        (WeightScheme(bits=4, granularity=Granularity.BLOCK, group_size=32), 1 / 8),
        (WeightScheme(bits=4, granularity=Granularity.BLOCK, group_size=128), 1 / 8),
    ],
)
def test_rounding_error_is_at_most_a_step(scheme, bound):
    weight = np.random.default_rng(0).normal(size=(100, 24)).astype(np.float32)
    weight[:, 3] = 0.0  # a channel of zeros has the scale zero
    codes, scales = round_weight(weight, scheme)
    assert codes.shape == weight.shape
    limit = 2 ** (scheme.bits - 1)
    assert codes.astype(int).min() >= -limit and codes.astype(int).max() < limit
    assert np.abs(restored(codes, scales, scheme.group_size) - weight).max() <= np.abs(weight).max() * bound


@pytest.mark.parametrize("granularity", list(Granularity))
def test_searched_scales_lose_less(granularity):
    weight = np.random.default_rng(2).standard_t(4, size=(96, 24)).astype(np.float32)
    weight[:, 3] = 0.0
    group = 32 if granularity is Granularity.BLOCK else None
    plain = WeightScheme(bits=4, granularity=granularity, group_size=group)
    errors = []
    for scheme in (plain, replace(plain, searched=True)):
        codes, scales = round_weight(weight, scheme)
        assert codes.astype(int).min() >= -8 and codes.astype(int).max() < 8
        errors.append(np.square(restored(codes, scales, group) - weight).sum())
    assert errors[1] < 0.96 * errors[0]


def test_4_bits_round_as_onnxruntime_rounds():
    weight = np.random.default_rng(1).normal(size=(64, 8)).astype(np.float32)
    config = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True, quant_format=1)
    packed, scales, _ = DefaultWeightOnlyQuantizer(config).qbits_block_quant(weight)
    ours, our_scales = round_weight(weight, WeightScheme(bits=4, granularity=Granularity.BLOCK, group_size=32))
    np.testing.assert_allclose(our_scales, scales, rtol=1e-6)
    nibbles = np.stack([packed & 15, packed >> 4], -1).ravel().astype(np.int8).reshape(weight.shape)
    theirs = np.where(nibbles > 7, nibbles - 16, nibbles)
    assert (theirs == ours.astype(np.int8)).mean() > 0.99  # ties may round either way


@pytest.mark.parametrize(
    ("component", "recipe", "precision", "share"),
    [(mask_component, "int8", "int8", 0.3), (text_component, "int4", "int4", 0.2)],
)
def test_layers_say_what_they_take_beside_their_floats(exported, tmp_path, component, recipe, precision, share):
    file = tmp_path / "made.onnx"
    source = component()
    layers = TARGET.quantise(source, load_recipe(recipe).without_rows(), exported / f"{source.name}.onnx", file).layers
    parameters, size = layers[precision]
    held = {tensor.name: tensor for tensor in onnx.load(file).graph.initializer}
    ends = (".codes", "_quantized")
    codes = [tensor for name, tensor in held.items() if name.endswith(ends) and len(tensor.dims) > 1]
    assert sum(int(np.prod(tensor.dims)) for tensor in codes) == sum(count for count, _ in layers.values())
    assert 0 < size < share * 4 * parameters


def test_positive_scales_cost_little_and_are_positive():
    weight = np.random.default_rng(0).normal(size=(256, 64)).astype(np.float32)
    plain = WeightScheme(bits=4, granularity=Granularity.BLOCK, group_size=32, searched=True)
    errors = []
    for scheme in (plain, replace(plain, positive=True)):
        codes, scales = round_weight(weight, scheme)
        errors.append(float(np.square(weight - codes.astype(np.float32) * np.repeat(scales, 32, 0)).sum()))
    assert (scales > 0).all() and errors[0] < errors[1] < 1.15 * errors[0]
    assert round_matrix(np.ascontiguousarray(weight.T), replace(plain, positive=True)).scales.min() > 0
