"""Graphs that other tools exported: rounded by the streaming writer, run in onnxruntime, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import click.testing
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.cli import convert as command
from converters.graph_file import round_graph
from converters.recipe import Granularity, WeightScheme, load_recipe
from converters.slabs import round_matrix, round_multiplied
from edge_runtime.errors import ConversionError, NanoedgeError, OptionError

LEAST_DB = {"fp32": 120, "bf16": 40, "int8": 35, "int4": 17, "int4-plain": 17, "nf4": 15}
RNG = np.random.default_rng(0)


def weight(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


@pytest.fixture
def graph(tmp_path):
    """A table, a product, a Gemm by the transpose, a convolution, and a branch with weights of its own."""
    values = {
        "table": RNG.standard_normal((500, 64)).astype(np.float32), "product": weight(64, 256),
        "gemm": weight(128, 256), "bias": weight(128), "kernel": weight(16, 1, 3, 3), "after": weight(128, 128),
        "other": weight(128, 128), "shape": np.array([1, 1, -1, 128]),
    }  # fmt: skip
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["g", "after"], ["then"])],
        "then",
        [],
        [helper.make_tensor_value_info("then", TensorProto.FLOAT, None)],
    )
    outer = helper.make_graph(
        [helper.make_node("MatMul", ["g", "other"], ["else"])],
        "else",
        [],
        [helper.make_tensor_value_info("else", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["t"]),
        helper.make_node("MatMul", ["t", "product"], ["p"]),
        helper.make_node("Gemm", ["p", "gemm", "bias"], ["g"], transB=1),
        helper.make_node("Size", ["ids"], ["n"]),
        helper.make_node("Cast", ["n"], ["c"], to=TensorProto.BOOL),
        helper.make_node("If", ["c"], ["b"], then_branch=inner, else_branch=outer),
        helper.make_node("Reshape", ["b", "shape"], ["r"]),
        helper.make_node("Conv", ["r", "kernel"], ["out"], pads=[1, 1, 1, 1]),
    ]
    made = helper.make_graph(
        nodes,
        "float",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["tokens"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=9)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def result(graph):
    ids = np.random.default_rng(1).integers(0, 500, 40)
    return onnxruntime.InferenceSession(graph).run(None, {"ids": ids})[0]


def decibels(wanted, got) -> float:
    return 10 * np.log10(np.square(wanted).sum() / max(np.square(got - wanted).sum(), 1e-30))


@pytest.mark.parametrize("recipe", LEAST_DB)
def test_every_recipe_runs_and_is_as_near_as_it_should_be(graph, tmp_path, recipe):
    wanted = result(onnx.load(graph).SerializeToString())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    told = []
    written = round_graph(
        graph, tmp_path / "small.onnx", load_recipe(recipe), lambda done, total: told.append((done, total))
    )
    for path in before:
        assert path.read_bytes() == before[path]
    (tmp_path / "weights.bin").unlink()  # the result stands alone
    assert decibels(wanted, result(tmp_path / "small.onnx")) >= LEAST_DB[recipe]
    assert told[-1][0] == told[-1][1]
    rounded = {layer.tensor for layer in written.layers if layer.precision != "fp32"}
    assert not {"bias", "after"} & rounded
    assert recipe == "fp32" or {"product", "gemm"} <= rounded
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("group", [32, 128])
def test_the_kernel_rounds_as_torch_does(group):
    matrix = RNG.standard_normal((512, 192)).astype(np.float32)
    matrix[:group] = 0
    scheme = WeightScheme(bits=4, granularity=Granularity.BLOCK, group_size=group, zero_points=True)
    kernel = round_multiplied(lambda start, stop: matrix[start:stop], scheme, matrix.shape)
    torch = round_matrix(np.ascontiguousarray(matrix.T), scheme)
    assert kernel.snr_db == pytest.approx(torch.snr_db, abs=0.02)
    assert (kernel.shape, kernel.dtype) == (torch.shape, torch.dtype)
    np.testing.assert_allclose(kernel.scales, torch.scales, rtol=1e-6)
    assert np.mean(kernel.codes == torch.codes) > 0.99


def test_plain_rounding_of_products_does_without_torch(graph, tmp_path):
    model = onnx.load(graph)
    while len(model.graph.node) > 2:
        model.graph.node.pop()
    model.graph.output[0].name = "p"
    onnx.save(model, graph)
    script = (
        "import sys; from pathlib import Path; from converters.graph_file import round_graph; "
        "from converters.recipe import load_recipe; "
        f"round_graph(Path({str(graph)!r}), Path({str(tmp_path / 'small.onnx')!r}), load_recipe('int4-plain')); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_command_writes_a_graph_and_says_what_became_of_it(graph, tmp_path):
    out = tmp_path / "small.onnx"
    done = click.testing.CliRunner().invoke(command, [str(graph), "--recipe", "int4", "-o", str(out)])
    assert done.exception is None, done.exception
    assert "int4" in done.output and "small.data" in done.output and out.exists()


# --- what is refused -------------------------------------------------------------------------------------------------


def changed(path, change) -> None:
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())


def relocate(model) -> None:
    for entry in model.graph.initializer[1].external_data:
        entry.value = "../weights.bin" if entry.key == "location" else entry.value


def old(model) -> None:
    model.opset_import[0].version = 17


def poison(graph) -> None:
    model = onnx.load(graph)
    array = numpy_helper.to_array(model.graph.initializer[1]).copy()
    array[0, 0] = np.nan
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(array, "product"))
    onnx.save(model, graph)


BAD = {
    "no graph": (lambda graph: graph.write_bytes(b"no graph" * 50), ConversionError, "can't be read"),
    "no file": (lambda graph: graph.unlink(), ConversionError, "can't be read"),
    "other folder": (lambda graph: changed(graph, relocate), ConversionError, "not beside it"),
    "truncated": (lambda graph: (graph.parent / "weights.bin").write_bytes(b"0" * 64), ConversionError, "truncated"),
    "old operators": (lambda graph: changed(graph, old), ConversionError, "opset_version=21"),
    "NaN": (poison, ConversionError, "product of the graph holds NaN"),
    "output": (lambda graph: (graph.parent / "small.data").touch(), OptionError, "exists already"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_can_t_be_rounded_is_named_and_nothing_is_left(graph, tmp_path, fault):
    spoil, kind, said = BAD[fault]
    spoil(graph)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(kind, match=said) as raised:
        round_graph(graph, tmp_path / "small.onnx", load_recipe("int4-plain"))
    assert isinstance(raised.value, NanoedgeError)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("recipe", LEAST_DB)
def test_nodes_without_names_get_some(tmp_path, recipe):
    weights = {f"w{place}": RNG.standard_normal((128, 128)).astype(np.float32) / 11 for place in range(2)}
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"]),
        helper.make_node("Gelu", ["h"], ["g"], name="matmul_2"),
        helper.make_node("MatMul", ["g", "w1"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes, "float", [value("x", TensorProto.FLOAT, ["rows", 128])], [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=9), tmp_path / "a.onnx")
    round_graph(tmp_path / "a.onnx", tmp_path / "small.onnx", load_recipe(recipe))
    rows = {"x": RNG.standard_normal((16, 128)).astype(np.float32)}
    sessions = [onnxruntime.InferenceSession(tmp_path / name) for name in ("a.onnx", "small.onnx")]
    assert decibels(*(session.run(None, rows)[0] for session in sessions)) > 10
