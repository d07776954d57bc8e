"""The search of 8-bit ranges on two tiny convolutions; onnxruntime runs the graphs.

Their result is cut to -1..1, so that rare extremes of the input say no more than half of them would.
"""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

from converters.quantise import quantise
from converters.ranges import search_ranges
from converters.recipe import Layer, Recipe, load_recipe

SHAPE = (1, 4, 16, 16)
SEARCHED = load_recipe("int8")
EXTREMES = Recipe.from_json(
    "extremes",
    {
        "description": "",
        "layers": {
            "convolution": {
                "weights": {"bits": 8, "granularity": "channel", "reduced_range": True},
                "activations": {"bits": 8, "signed": False},
            }
        },
        "between": ["add", "relu"],
        "calibration": {"samples": 32},
    },
)


def pictures(seed: int, count: int, extreme: float) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, *SHAPE), scale=0.02).astype(np.float32)
    values[:, 0, 0, 0, 0] = extreme
    return [{"x": value} for value in values]


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    kernels = {"first": random.normal(size=(8, 4, 3, 3)), "second": random.normal(size=(4, 8, 3, 3))}
    biases = {f"{name}_bias": random.normal(size=len(kernel), scale=0.02) for name, kernel in kernels.items()}
    values = {**kernels, **biases, "low": -1.0, "high": 1.0}
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("Conv", ["x", "first", "first_bias"], ["inside"], "one", pads=[1] * 4),
                onnx.helper.make_node("Relu", ["inside"], ["shown"], "relu"),
                onnx.helper.make_node("Conv", ["shown", "second", "second_bias"], ["sum"], "two", pads=[1] * 4),
                onnx.helper.make_node("Clip", ["sum", "low", "high"], ["y"], "cut"),
            ],
            "tiny",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, SHAPE)],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, SHAPE)],
            [onnx.numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in values.items()],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 21)],
        ir_version=10,
    )


def made(model: onnx.ModelProto, recipe: Recipe, samples: list, hard: list | None = None) -> onnx.ModelProto:
    scheme = recipe.layers[Layer.CONVOLUTION]
    return quantise(model, recipe, samples, {"first": scheme, "second": scheme}, hard or [])[0]


def results(model: onnx.ModelProto, samples: list, *, fused: bool = True) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, sample)[0] for sample in samples]


def distance(model: onnx.ModelProto, other: onnx.ModelProto, samples: list) -> float:
    pairs = zip(results(model, samples), results(other, samples), strict=True)
    return float(np.mean([np.mean((a - b) ** 2) for a, b in pairs]))


def test_rare_extremes_cost_less(model):
    samples = pictures(1, 8, extreme=1.0)
    plain, searched = made(model, EXTREMES, samples), made(model, SEARCHED, samples)
    others = pictures(2, 8, extreme=0.0)
    assert distance(searched, model, others) < 0.7 * distance(plain, model, others)


def test_the_graph_keeps_its_form(model):
    samples = pictures(1, 8, extreme=1.0)
    plain, searched = made(model, EXTREMES, samples), made(model, SEARCHED, samples)
    assert Counter(node.op_type for node in plain.graph.node) == Counter(node.op_type for node in searched.graph.node)


def test_biases_follow_the_steps_of_their_sums(model):
    searched = made(model, SEARCHED, pictures(1, 8, extreme=1.0))
    others = pictures(2, 4, extreme=0.0)
    for fused, plain in zip(results(searched, others), results(searched, others, fused=False), strict=True):
        assert np.abs(fused - plain).max() < 0.05 * np.abs(plain).max()


def test_hard_samples_keep_their_range(model):
    samples, hard = pictures(1, 8, extreme=0.0), [{"x": 3 * sample["x"]} for sample in pictures(3, 4, extreme=0.0)]
    careless, careful = made(model, SEARCHED, samples), made(model, SEARCHED, samples, hard)
    assert distance(careful, model, hard) < 0.7 * distance(careless, model, hard)


def test_what_is_left_is_told_and_never_more_than_before(model):
    samples = pictures(1, 8, extreme=1.0)
    plain = made(model, EXTREMES, samples)
    left = search_ranges(plain, model, samples)
    assert 0 < left < 1
    assert search_ranges(plain, model, samples) <= 1
