"""Graphs cut into blocks: a chain of layers, and one whose sizes are asked for in between."""

import os
import subprocess

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from converters.source import ComponentSource
from converters.tensorrt.cuts import cut
from converters.tensorrt.elements import infer_elements
from converters.tensorrt.package import Division, described, write_package
from converters.tensorrt.profiles import Span
from converters.tensorrt_engine import ENGINE
from edge_runtime.blocks import CONTENTS, read_blocks
from edge_runtime.tensors import TensorSpec

LAYERS, WIDTH = 6, 32
LAYER_BYTES = WIDTH * WIDTH * 4
SPANS = {"rows": Span(2, 4, 8)}


def chain() -> ir.Model:
    """x (rows, WIDTH) through LAYERS products, and at the end reshaped by the number of rows of the input."""
    random = np.random.default_rng(0)
    nodes, constants, last = [], {}, "x"
    for number in range(LAYERS):
        constants[f"weight_{number}"] = (random.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [last, f"weight_{number}"], [f"p_{number}"], f"product_{number}"))
        nodes.append(helper.make_node("Tanh", [f"p_{number}"], [f"t_{number}"], f"tanh_{number}"))
        last = f"t_{number}"
    constants |= {"zero": np.array([0], np.int64), "pairs": np.array([2, WIDTH // 2], np.int64)}
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"], "sizes"),
        helper.make_node("Gather", ["sizes", "zero"], ["rows"], "rows"),
        *nodes,
        helper.make_node("Concat", ["rows", "pairs"], ["wanted"], "wanted", axis=0),
        helper.make_node("Reshape", [last, "wanted"], ["y"], "reshaped"),
    ]
    body = helper.make_graph(
        nodes, "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2, WIDTH // 2])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = ir.from_proto(helper.make_model(body, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    infer_elements(model, "chain")
    return model


def component() -> ComponentSource:
    return ComponentSource(
        name="chain", module=lambda: None, examples=(), dimensions={"rows": (2, 8)},
        inputs=(TensorSpec(name="x", dtype="float32", shape=("rows", WIDTH)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("rows", 2, WIDTH // 2)),),
    )  # fmt: skip


@pytest.mark.parametrize(("layers", "blocks"), [(LAYERS, 1), (3, 2), (2, 3), (1, 6)])
def test_blocks_have_an_even_share_of_the_weights(layers, blocks):
    parts = cut(chain().graph, layers * LAYER_BYTES, 12)
    assert len(parts) == blocks
    products = [sum(node.op_type == "MatMul" for node in part) for part in parts]
    assert products == [LAYERS // blocks] * blocks


def test_there_are_no_more_blocks_than_asked_for():
    assert len(cut(chain().graph, 1, 4)) == 4


@pytest.mark.parametrize("layers", [LAYERS, 2, 1])
def test_blocks_compute_what_the_whole_computes(tmp_path, layers):
    folder = tmp_path / "chain.tensorrt"
    write_package(chain(), component(), Division(spans=SPANS, block_bytes=layers * LAYER_BYTES), folder)
    entry = described(component(), folder)
    blocks = read_blocks(folder / CONTENTS, entry)
    assert len(blocks) == LAYERS // layers
    x = np.random.default_rng(1).normal(size=(5, WIDTH)).astype(np.float32)
    expected = x
    for number in range(LAYERS):
        expected = np.tanh(expected @ chain().graph.initializers[f"weight_{number}"].const_value.numpy())
    with ENGINE.open(folder / CONTENTS, entry, threads=1) as session:
        np.testing.assert_allclose(session.run({"x": x})["y"], expected.reshape(5, 2, -1), atol=1e-5)


def test_what_passes_has_a_profile_and_shapes_are_computed_where_they_are_read(tmp_path):
    folder = tmp_path / "chain.tensorrt"
    write_package(chain(), component(), Division(spans=SPANS, block_bytes=2 * LAYER_BYTES), folder)
    first, second, last = read_blocks(folder / CONTENTS, described(component(), folder))
    assert [len(block.outputs) for block in (first, second, last)] == [1, 1, 1]
    assert second.inputs == first.outputs and {"x", second.outputs[0].name} == {spec.name for spec in last.inputs}
    profile = last.profiles[second.outputs[0].name]
    assert (profile.smallest, profile.best, profile.largest) == ((2, WIDTH), (4, WIDTH), (8, WIDTH))


def test_the_build_recipe_calls_trtexec_once_for_each_block(tmp_path):
    folder = tmp_path / "chain.tensorrt"
    write_package(chain(), component(), Division(spans=SPANS, block_bytes=2 * LAYER_BYTES), folder)
    environment = {**os.environ, "TRTEXEC": "echo"}
    result = subprocess.run(
        ["sh", folder / "build.sh", tmp_path], env=environment, capture_output=True, text=True, check=True
    )
    commands = [line.split() for line in result.stdout.splitlines()]
    assert [command[:2] for command in commands] == [
        [f"--onnx={number}.onnx", f"--saveEngine={tmp_path}/{number}.engine"] for number in (1, 2, 3)
    ]
    assert all("--stronglyTyped" in command and "--fp16" not in command for command in commands)
    assert f"--minShapes=x:2x{WIDTH}" in commands[0] and f"--maxShapes=x:8x{WIDTH}" in commands[0]


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        write_package(chain(), component(), Division(spans=SPANS, block_bytes=2 * LAYER_BYTES), tmp_path / name)
    contents = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")]
    assert contents[0] == contents[1] and len(contents[0]) == 6


def test_no_block_holds_only_what_others_compute_for_themselves():
    model = chain()
    first = model.graph.initializers["weight_0"]
    turned = ir.node("Transpose", [first], {"perm": [1, 0]}, name="turned")
    turned.outputs[0].name, turned.outputs[0].type = "turned", first.type
    model.graph.insert_before(model.graph[0], turned)
    product = next(node for node in model.graph if node.name == "product_0")
    product.replace_input_with(1, turned.outputs[0])
    parts = cut(model.graph, LAYER_BYTES, 12)
    assert all(any(node.op_type in ("MatMul", "Tanh") for node in part) for part in parts)
