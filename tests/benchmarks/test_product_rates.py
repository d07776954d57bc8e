"""What ONNX Runtime multiplied is read from its profiler's shapes, whatever layout its kernels have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.product_rates import Convolution, Multiplication, Product, measured, multiplications

WEIGHTS = Product((1, 96, 128), (128, 256), weights=True)
ATTENTION = Product((4, 96, 64), (4, 64, 96), weights=False)
STRIDED = Convolution((1, 16, 64, 32), (32, 16, 3, 3), stride=2)
ALL: tuple[Multiplication, ...] = (WEIGHTS, ATTENTION, STRIDED)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """Return what the profiler says of one run of three multiplications and one too small to count."""
    values = np.random.default_rng(7)
    inputs = {
        name: values.normal(size=shape).astype(np.float32)
        for name, shape in (("x", (1, 96, 128)), ("q", (4, 96, 64)), ("k", (4, 96, 64)), ("photo", (1, 16, 64, 32)))
    }
    constants = [
        numpy_helper.from_array(values.normal(size=(128, 256)).astype(np.float32), "w"),
        numpy_helper.from_array(values.normal(size=(32, 16, 3, 3)).astype(np.float32), "kernel"),
        numpy_helper.from_array(np.ones((256, 2), np.float32), "narrow"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("MatMul", ["product", "narrow"], ["small"]),
        helper.make_node("Transpose", ["k"], ["turned"], perm=[0, 2, 1]),  # becomes one operator with the next
        helper.make_node("MatMul", ["q", "turned"], ["scores"]),
        helper.make_node("Conv", ["photo", "kernel"], ["half"], pads=[1] * 4, strides=[2, 2]),
    ]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in inputs.items()]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("small", "scores", "half")]
    graph = helper.make_graph(nodes, "three", given, made, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.add_session_config_entry("session.disable_prepacking", "1")  # else weights have no shapes
    options.profile_file_prefix = str(tmp_path_factory.mktemp("profile") / "run")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    session.run(None, inputs)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [each["args"] | {"microseconds": each["dur"]} for each in events if each["name"].endswith("_kernel_time")]


def test_shapes_are_those_that_were_multiplied(profiled: list[dict[str, object]]) -> None:
    found = dict(multiplications(profiled, profiled))
    assert set(found) == set(ALL)
    assert all(seconds > 0 for seconds in found.values())


def test_multiply_adds_are_counted() -> None:
    assert WEIGHTS.multiply_adds == 96 * 128 * 256
    assert ATTENTION.multiply_adds == 4 * 96 * 64 * 96
    assert STRIDED.multiply_adds == 32 * 16 * 32 * (16 * 3 * 3)


def test_every_shape_runs_in_every_library() -> None:
    for library, times in measured(list(ALL)).items():
        assert set(times) == set(ALL), library
        assert all(seconds > 0 for seconds in times.values()), library
