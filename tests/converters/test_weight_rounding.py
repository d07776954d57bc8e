"""Rounding of weights by how their inputs vary together: the definition, and on a tiny graph that onnxruntime runs."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from converters.quantise import quantise
from converters.recipe import Layer, load_recipe
from converters.weight_rounding import compensated

LIMIT = 7
INT8 = load_recipe("int8")
NEAREST = replace(INT8, calibration=replace(INT8.calibration, compensated=False, searched=False))
COMPENSATED = replace(INT8, calibration=replace(INT8.calibration, compensated=True, searched=False))


@pytest.fixture
def weight() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 24)).astype(np.float32)


def scales_of(weight: np.ndarray) -> np.ndarray:
    return np.abs(weight).max(1) / np.float32(LIMIT)


def moments_of(inputs: np.ndarray) -> np.ndarray:
    return inputs.T @ inputs / len(inputs)


def smooth(seed: int, count: int, size: int) -> np.ndarray:
    """Inputs that go up and down together, as neighbours in pictures do."""
    steps = np.random.default_rng(seed).normal(size=(count, size))
    return np.cumsum(steps, 1) * 0.1 + np.random.default_rng(seed + 1).normal(size=(count, 1))


def error(weight: np.ndarray, codes: np.ndarray, inputs: np.ndarray) -> float:
    return float(np.mean((inputs @ (codes * scales_of(weight)[:, None] - weight).T) ** 2))


def test_sums_come_nearer_on_other_inputs_too(weight):
    codes = compensated(weight, scales_of(weight), moments_of(smooth(1, 500, 24)), LIMIT)
    nearest = np.rint(weight / scales_of(weight)[:, None])
    assert error(weight, codes, smooth(7, 500, 24)) < 0.3 * error(weight, nearest, smooth(7, 500, 24))


def test_inputs_that_vary_by_themselves_leave_the_nearest_codes(weight):
    codes = compensated(weight, scales_of(weight), np.eye(24), LIMIT)
    assert np.array_equal(codes, np.rint(weight / scales_of(weight)[:, None]))


@pytest.mark.parametrize("moments", [np.zeros((24, 24)), np.ones((24, 24)), np.diag([0.0] * 23 + [1e6])])
def test_inputs_that_say_nothing_break_nothing(weight, moments):
    codes = compensated(weight, scales_of(weight), moments, LIMIT)
    assert codes.dtype == np.int8 and np.abs(codes).max() <= LIMIT


def tiny() -> onnx.ModelProto:
    kernels = np.random.default_rng(3).normal(size=(8, 4, 3, 3)).astype(np.float32)
    groups = np.random.default_rng(4).normal(size=(4, 1, 3, 3)).astype(np.float32)
    conv = onnx.helper.make_node("Conv", ["x", "kernels"], ["y"], "one", pads=[1, 0, 1, 0], strides=[2, 1])
    each = onnx.helper.make_node("Conv", ["x", "groups"], ["each"], "two", group=4)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [conv, each], "tiny",
        [value("x", onnx.TensorProto.FLOAT, (1, 4, "h", "w"))],
        [value("y", onnx.TensorProto.FLOAT, (1, 8, "a", "b")), value("each", onnx.TensorProto.FLOAT, (1, 4, "c", "d"))],
        [onnx.numpy_helper.from_array(kernels, "kernels"), onnx.numpy_helper.from_array(groups, "groups")],
    )  # fmt: skip
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)


def pictures(seed: int, count: int = 6) -> list[dict[str, np.ndarray]]:
    """Brightness that goes slowly over a picture, and a little colour."""
    random = np.random.default_rng(seed)
    bright = random.uniform(-1, 1, size=(count, 1, 1, 5, 4)).repeat(8, 3).repeat(8, 4)
    pixels = bright + 0.02 * random.normal(size=(count, 1, 4, 40, 32))
    return [{"x": picture} for picture in pixels.astype(np.float32)]


def made(recipe, samples: list) -> onnx.ModelProto:
    scheme = recipe.layers[Layer.CONVOLUTION]
    return quantise(tiny(), recipe, samples, {"kernels": scheme, "groups": scheme}, samples[:1])[0]


def results(model: onnx.ModelProto, samples: list) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.stack([session.run(["y"], sample)[0] for sample in samples])


def test_a_graph_comes_nearer_to_float_and_keeps_its_form():
    samples, others = pictures(1), pictures(50)
    nearest, compensated_graph = made(NEAREST, samples), made(COMPENSATED, samples)
    wanted = results(tiny(), others)
    errors = [np.mean((results(model, others) - wanted) ** 2) for model in (nearest, compensated_graph)]
    assert errors[1] < 0.8 * errors[0]
    assert Counter(node.op_type for node in nearest.graph.node) == Counter(
        node.op_type for node in compensated_graph.graph.node
    )
    changed = [
        old.name
        for old, new in zip(nearest.graph.initializer, compensated_graph.graph.initializer, strict=True)
        if old != new
    ]
    assert changed == ["kernels_quantized"], "one code for one weight; scales, ranges and grouped weights stay"


def test_the_same_samples_give_the_same_bytes():
    first, second = (made(COMPENSATED, pictures(1)).SerializeToString() for _ in range(2))
    assert first == second
