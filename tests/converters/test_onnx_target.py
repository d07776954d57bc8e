from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from stand_ins import mask_component, odd_component, text_component
from torch import Tensor, nn

from converters import graph
from converters.captured import OPSET
from converters.source import run_module
from converters.targets.onnx import TARGET
from edge_runtime.errors import ConversionError

REPOSITORY = str(Path(__file__).resolve().parents[2]).encode()


def test_the_graph_is_valid_and_says_its_shapes(exported):
    model = onnx.load(exported / "text.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [opset.version for opset in model.opset_import] == [OPSET]
    sides = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert sides == {"tokens": [1, "tokens"], "scores": [1, 8], "each": [1, "tokens", 8]}


@pytest.mark.parametrize("length", [1, 2, 17, 64])
def test_dynamic_sizes_compute_what_torch_computes(exported, length):
    source = text_component()
    tokens = {"tokens": np.arange(1, 1 + length, dtype=np.int32)[None]}
    expected = run_module(source.module(), source, tokens)
    for runner in TARGET.runners(source, exported / "text.onnx"):
        outputs = runner(tokens)
        for name, array in expected.items():
            np.testing.assert_allclose(outputs[name], array, atol=1e-5)


def test_same_weights_same_bytes(exported, tmp_path):
    for source in (mask_component(), text_component()):
        TARGET.export(source, tmp_path / "again.onnx")
        assert (tmp_path / "again.onnx").read_bytes() == (exported / f"{source.name}.onnx").read_bytes()


def test_nothing_about_the_machine_gets_into_the_file(exported):
    for name in ("vision", "text"):
        content = (exported / f"{name}.onnx").read_bytes()
        assert REPOSITORY not in content and b".py" not in content and b"stack_trace" not in content


def test_nodes_have_names_of_their_own(exported):
    names = [node.name for node in onnx.load(exported / "text.onnx").graph.node]
    assert all(names) and len(set(names)) == len(names)


def test_linear_layers_are_matrix_products_with_the_checkpoints_names(exported):
    model = onnx.load(exported / "text.onnx")
    assert "Gemm" not in {node.op_type for node in model.graph.node}
    assert "bytes.weight" in {tensor.name for tensor in model.graph.initializer}


class Swapped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1)


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(3, 4)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if float(x.sum()) > 0 else x


@pytest.mark.parametrize("module", [Swapped, Fixed, Branching])
def test_a_graph_that_is_not_as_described_is_refused(module, tmp_path):
    with pytest.raises(ConversionError):
        TARGET.export(odd_component(module), tmp_path / "odd.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"examples": ({"x": np.ones((1, 4), np.float32)},)},
        {"dimensions": {}},
        {"dimensions": {"rows": (1, 100), "columns": (1, 100)}},
    ],
)
def test_the_traced_example_must_free_every_symbol(changes, tmp_path):
    with pytest.raises(ConversionError, match="every symbol"):
        TARGET.export(odd_component(Swapped, **changes), tmp_path / "odd.onnx")


def test_gemm_with_a_scale_stays(tmp_path):
    weight = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32), "weight")
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4]) for name in "xy"]

    def model(**attributes: float) -> onnx.ModelProto:
        nodes = [onnx.helper.make_node("Gemm", ["x", "weight"], ["y"], "product", **attributes)]
        body = onnx.helper.make_graph(nodes, "g", sides[:1], sides[1:], [weight])
        return onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", OPSET)])

    for attributes, operator in (({"alpha": 2.0}, "Gemm"), ({"transB": 1}, "MatMul"), ({}, "MatMul")):
        changed = model(**attributes)
        graph.gemm_to_matmul(changed)
        assert [node.op_type for node in changed.graph.node] == [operator]
        x = np.arange(8, dtype=np.float32).reshape(2, 4)
        results = [
            onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x})[0]
            for m in (model(**attributes), changed)
        ]
        np.testing.assert_array_equal(*results)
