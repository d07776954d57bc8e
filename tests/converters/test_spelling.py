"""Graphs give the same whichever way they are spelled, and ONNX Runtime makes kernels of what it took apart."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.captured import OPSET
from converters.spelling import spell


def graph(nodes, shape, **constants):
    """Return a model of x -> y."""
    initialisers = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)], initialisers,
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def spelled(model):
    again = ir.from_proto(model)
    spell(again.graph)
    proto = ir.to_proto(again)
    onnx.checker.check_model(proto)
    return proto


def run(model, x, folder=None):
    """Return what the model gives, and the operators that ONNX Runtime really runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # else it remarks on saving what is made for this machine
    if folder is not None:
        options.optimized_model_filepath = str(folder / "optimised.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [] if folder is None else [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]
    return session.run(None, {"x": x})[0], kinds


@pytest.mark.parametrize("shape", [(1, 12, 40), (2, 12, 9, 7), (1, 12, 3, 5, 4)], ids=["tokens", "picture", "video"])
@pytest.mark.parametrize("epsilon", [1e-6, 1e-1])
def test_a_group_norm_is_the_norm_of_long_rows(tmp_path, shape, epsilon):
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, shape).astype(np.float32)
    weight, bias = (rng.normal(size=12).astype(np.float32) for _ in range(2))
    node = helper.make_node("GroupNormalization", ["x", "w", "b"], ["y"], num_groups=4, epsilon=epsilon)
    given = graph([node], [shape[0], 12, *(f"size_{axis}" for axis in range(2, len(shape)))], w=weight, b=bias)
    wanted, before = run(given, x, tmp_path)
    got, after = run(spelled(given), x, tmp_path)
    assert np.abs(got - wanted).max() < 1e-5
    assert "LayerNormalization" in after and "ReduceMean" in before and len(after) < len(before)


def test_a_group_norm_of_values_far_from_zero_is_exact():
    x = np.random.default_rng(0).normal(300, 1, (1, 64, 64, 64)).astype(np.float32)
    node = helper.make_node("GroupNormalization", ["x", "w", "b"], ["y"], num_groups=32)
    model = graph([node], [1, 64, "h", "w"], w=np.ones(64, np.float32), b=np.zeros(64, np.float32))
    got, _ = run(spelled(model), x)
    rows = x.reshape(32, -1).astype(np.float64)
    wanted = (rows - rows.mean(1, keepdims=True)) / rows.std(1, keepdims=True)
    assert np.abs(got.reshape(32, -1) - wanted).max() < 1e-4


def test_a_group_norm_of_unknown_rank_stays(tmp_path):
    node = helper.make_node("GroupNormalization", ["z", "w", "b"], ["y"], num_groups=2)
    nodes = [helper.make_node("Neg", ["x"], ["z"]), node]
    model = graph(nodes, [1, 4, "length"], w=np.ones(4, np.float32), b=np.ones(4, np.float32))
    assert "GroupNormalization" in [node.op_type for node in spelled(model).graph.node]


def root_mean_square(after):
    return [
        helper.make_node("Pow", ["x", "two"], ["squares"]),
        helper.make_node("ReduceMean", ["squares", "last"], ["mean"], keepdims=1),
        helper.make_node("Add", ["mean", "epsilon"], ["more"]),
        helper.make_node("Sqrt", ["more"], ["root"]),
        helper.make_node("Reciprocal", ["root"], ["scale"]),
        *after,
    ]


CONSTANTS = {"two": np.float32(2), "last": np.array([-1]), "epsilon": np.float32(1e-6), "w": np.ones(16, np.float32)}


@pytest.mark.parametrize("order", [("x", "scale"), ("scale", "x")])
def test_an_rms_norm_becomes_one_kernel(tmp_path, order):
    after = [helper.make_node("Mul", order, ["normed"]), helper.make_node("Mul", ["w", "normed"], ["y"])]
    given = graph(root_mean_square(after), [1, "tokens", 16], **CONSTANTS)
    x = np.random.default_rng(0).normal(0, 40, (1, 5, 16)).astype(np.float32)
    wanted, before = run(given, x, tmp_path)
    got, kinds = run(spelled(given), x, tmp_path)
    assert np.abs(got - wanted).max() < 1e-6 * np.abs(wanted).max()
    assert kinds == ["SimplifiedLayerNormalization"] != before


def test_a_reciprocal_that_others_read_too_stays_for_them(tmp_path):
    after = [
        helper.make_node("Mul", ["x", "scale"], ["normed"]), helper.make_node("Add", ["normed", "scale"], ["y"]),
    ]  # fmt: skip
    given = graph(root_mean_square(after), [1, "tokens", 16], **CONSTANTS)
    x = np.random.default_rng(0).normal(size=(1, 5, 16)).astype(np.float32)
    wanted, _ = run(given, x)
    changed = spelled(given)
    assert np.abs(run(changed, x)[0] - wanted).max() < 1e-6
    assert {"Div", "Reciprocal"} <= {node.op_type for node in changed.graph.node}
