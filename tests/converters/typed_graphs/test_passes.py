"""Passes from ONNX Runtime's graphs to TensorRT's, on graphs of a few nodes."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper

from converters.tensorrt.elements import infer_elements
from converters.tensorrt.gathers import unpack_before_gathering
from converters.tensorrt.passes import typed
from converters.tensorrt.rounded import rounded
from converters.tensorrt.typed import halved, learned_layers, positive_scales
from edge_runtime.errors import ConversionError


def graph(nodes, inputs, outputs, constants=()) -> onnx.ModelProto:
    sides = [
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in side] for side in (inputs, outputs)
    ]
    held = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in dict(constants).items()]
    body = helper.make_graph(nodes, "tiny", *sides, held)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto | ir.Model, **inputs):
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.fixture
def picture() -> onnx.ModelProto:
    """uint8 pixels that are moved, computed with, joined with others that were only moved, and moved again."""
    uint8, float32 = TensorProto.UINT8, TensorProto.FLOAT
    nodes = [
        helper.make_node("Transpose", ["image"], ["moved"], "moved", perm=[0, 2, 1]),
        helper.make_node("Cast", ["moved"], ["numbers"], "numbers", to=float32),
        helper.make_node("Mul", ["numbers", "gain"], ["product"], "product"),
        helper.make_node("Clip", ["product", "low", "high"], ["clipped"], "clipped"),
        helper.make_node("Cast", ["clipped"], ["bytes"], "bytes", to=uint8),
        helper.make_node("Concat", ["bytes", "moved"], ["joined"], "joined", axis=1),
        helper.make_node("Transpose", ["joined"], ["edited"], "edited", perm=[0, 2, 1]),
    ]
    constants = {"gain": np.float32(1.37), "low": np.float32(0), "high": np.float32(255)}
    sides = [("image", uint8, [1, "height", 3])], [("edited", uint8, [1, "height", 6])]
    return graph(nodes, *sides, constants)


def test_bytes_go_only_from_inputs_into_casts_and_from_casts_to_outputs(picture):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 7, 3), np.uint8)
    expected = run(picture, image=pixels)
    model = typed(picture, "tiny", set())
    np.testing.assert_array_equal(run(model, image=pixels), expected)
    made = {value.name for node in model.graph for value in node.outputs if value.dtype is ir.DataType.UINT8}
    assert made == {"edited"} and model.graph[-1].op_type == "Cast"
    readers = [node.op_type for node, _ in model.graph.inputs[0].uses()]
    assert readers == ["Cast"]


@pytest.fixture
def network() -> onnx.ModelProto:
    """Two matrix products with a softmax between them, and a sum of squares in front."""
    random = np.random.default_rng(1)
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["squares"], "squares"),
        helper.make_node("MatMul", ["squares", "first"], ["hidden"], "first_product"),
        helper.make_node("Relu", ["hidden"], ["active"], "relu"),
        helper.make_node("Softmax", ["active"], ["shares"], "softmax", axis=-1),
        helper.make_node("MatMul", ["shares", "second"], ["y"], "second_product"),
    ]
    constants = {name: random.normal(size=(4, 4)).astype(np.float32) for name in ("first", "second")}
    sides = [("x", TensorProto.FLOAT, ["rows", 4])], [("y", TensorProto.FLOAT, ["rows", 4])]
    return graph(nodes, *sides, constants)


def test_halves_lie_between_learned_layers_and_softmax_stays_single(network):
    learned = learned_layers(ir.from_proto(network).graph, {"first", "second"}.__contains__)
    assert learned == {"first_product", "second_product"}
    model = typed(network, "tiny", learned)
    kinds = {node.name: node.outputs[0].dtype for node in model.graph if node.op_type != "Cast"}
    half, single = ir.DataType.FLOAT16, ir.DataType.FLOAT
    assert kinds == {
        "squares": single, "first_product": half, "relu": half, "softmax": single, "second_product": half,
    }  # fmt: skip
    x = np.random.default_rng(2).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(run(model, x=x), run(network, x=x), atol=5e-3)
    assert model.graph.outputs[0].dtype is single and model.graph.inputs[0].dtype is single


def test_without_learned_layers_everything_stays_single(network):
    model = typed(network, "tiny", set())
    assert "Cast" not in operators(model)


def test_halves_are_rounded_where_a_gpu_rounds_them():
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], "half", to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["half", "large"], ["product"], "product"),
        helper.make_node("Mul", ["product", "small"], ["back"], "back"),
        helper.make_node("Cast", ["back"], ["y"], "y", to=TensorProto.FLOAT),
    ]
    constants = {"large": np.float16(300), "small": np.float16(0.001)}
    sides = [("x", TensorProto.FLOAT, [3])], [("y", TensorProto.FLOAT, [3])]
    model = graph(nodes, *sides, constants)
    x = np.array([300, 1, 0.1], np.float32)
    with np.errstate(over="ignore"):
        halves = x.astype(np.float16) * np.float16(300) * np.float16(0.001)
    assert np.isinf(halves[0]) and np.isfinite(run(model, x=x)).all()
    twin = ir.from_proto(model)
    infer_elements(twin, "tiny")
    rounded(twin)
    np.testing.assert_array_equal(run(twin, x=x), halves.astype(np.float32))


def test_inputs_and_outputs_of_a_block_may_be_halves():
    nodes = [helper.make_node("Transpose", ["x"], ["y"], "turned", perm=[1, 0])]
    sides = [("x", TensorProto.FLOAT16, [2, 3])], [("y", TensorProto.FLOAT16, [3, 2])]
    twin = ir.from_proto(graph(nodes, *sides))
    infer_elements(twin, "tiny")
    rounded(twin)
    x = np.arange(6, dtype=np.float16).reshape(2, 3)
    np.testing.assert_array_equal(run(twin, x=x), x.T)


@pytest.mark.parametrize("by_rows", [False, True])
def test_tables_are_unpacked_before_rows_are_taken(by_rows):
    random = np.random.default_rng(3)
    codes = random.integers(-127, 128, (6, 4), np.int8)
    nodes = [
        helper.make_node("Gather", ["codes", "rows"], ["taken"], "taken"),
        helper.make_node("Cast", ["taken"], ["values"], "values", to=TensorProto.FLOAT),
    ]
    if by_rows:
        scales = random.random((6, 1), np.float32)
        nodes.append(helper.make_node("Gather", ["scales", "rows"], ["own"], "own"))
    else:
        scales = random.random(4, np.float32)
    nodes.append(helper.make_node("Mul", ["values", "own" if by_rows else "scales"], ["y"], "product"))
    sides = [("rows", TensorProto.INT64, ["count"])], [("y", TensorProto.FLOAT, ["count", 4])]
    model = graph(nodes, *sides, {"codes": codes, "scales": scales})
    rows = np.array([5, 0, 3], np.int64)
    unpacked = ir.from_proto(model)
    infer_elements(unpacked, "tiny")
    unpack_before_gathering(unpacked)
    assert operators(unpacked) == ["DequantizeLinear", "Gather"]
    np.testing.assert_allclose(run(unpacked, rows=rows), run(model, rows=rows), rtol=1e-6)


def test_scales_of_nothing_become_positive():
    nodes = [helper.make_node("DequantizeLinear", ["codes", "scales"], ["y"], "unpacked", axis=1)]
    constants = {"codes": np.array([[0, 5]], np.int8), "scales": np.array([0, 0.5], np.float32)}
    model = ir.from_proto(graph(nodes, [], [("y", TensorProto.FLOAT, [1, 2])], constants))
    positive_scales(model.graph)
    assert (model.graph.initializers["scales"].const_value.numpy() > 0).all()
    np.testing.assert_array_equal(run(model), [[0, 2.5]])


def test_half_values_are_never_infinite_nor_lost():
    found = halved(np.array([1e9, -np.inf, 1e-12, -1e-12, 0, 1], np.float32))
    assert np.isfinite(found).all()
    assert found[0] == -found[1] == np.float16(65504) and found[2] == -found[3] > 0 and not found[4]


def test_an_operator_that_tensorrt_lacks_is_named():
    nodes = [helper.make_node("Det", ["x"], ["y"], "volume")]
    model = graph(nodes, [("x", TensorProto.FLOAT, [2, 2])], [("y", TensorProto.FLOAT, [])])
    with pytest.raises(ConversionError, match="Tiny: TensorRT can't express.*Det, node volume.*onnx"):
        typed(model, "tiny", set())
