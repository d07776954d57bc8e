"""Components as typed graphs for TensorRT: what is written, what it computes, what NVIDIA's parser makes of it."""

from pathlib import Path

import numpy as np
import nvidia
import onnx
import pytest
import torch
from stand_ins import TinyMask, mask_component, odd_component, seeded, text_component
from torch import Tensor, nn

from converters.component import convert_component
from converters.recipe import load_recipe
from converters.source import FixedForm
from converters.targets.tensorrt import TARGET
from converters.tensorrt.package import described
from edge_runtime.blocks import CONTENTS, read_blocks

pytestmark = pytest.mark.slow

def sized_text():
    return text_component(fixed=FixedForm(sizes=({"tokens": 64},)))


def written(component, recipe: str, folder: Path):
    plain = load_recipe(recipe).without_rows()
    return convert_component(component, TARGET, plain, folder, lambda line: None)


def types(folder: Path) -> dict[str, set[str]]:
    """Return operator -> the types of what its nodes give."""
    model = onnx.shape_inference.infer_shapes(onnx.load(folder / "1.onnx"))
    known = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}
    found: dict[str, set[str]] = {}
    for node in model.graph.node:
        names = {onnx.TensorProto.DataType.Name(known[name]) for name in node.output if name in known}
        found.setdefault(node.op_type, set()).update(names)
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Recipe and component -> what was converted."""
    folder = tmp_path_factory.mktemp("typed")
    made = {}
    for recipe in ("fp32", "fp16", "int8", "int4"):
        for component in (mask_component(), sized_text()):
            place = folder / recipe
            place.mkdir(exist_ok=True)
            made[recipe, component.name] = written(component, recipe, place)
    return made


@pytest.mark.parametrize(
    ("recipe", "name", "precision"),
    [
        ("fp32", "vision", "fp32"), ("fp16", "vision", "fp16"), ("int8", "vision", "int8-fp16"),
        ("int8", "text", "int8-fp16"), ("int4", "text", "int4-int8-fp16"),
    ],
)  # fmt: skip
def test_components_keep_their_limits_against_torch(folders, recipe, name, precision):
    converted = folders[recipe, name]
    assert converted.parity.precision == precision and converted.parity.failure is None
    assert np.isnan(converted.milliseconds)  # it is run to be checked, not to be timed


def test_codes_lie_around_zero_and_layers_compute_in_half_precision(folders):
    folder = folders["int8", "vision"].file
    model = onnx.load(folder / "1.onnx")
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    coding = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {node.op_type for node in coding} == {"QuantizeLinear", "DequantizeLinear"}
    for node in coding:
        assert (constants[node.input[1]] > 0).all() and constants[node.input[1]].dtype == np.float16
        if len(node.input) > 2:
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8 and not zero.any()
    assert types(folder)["Conv"] == {"FLOAT16"} and types(folder)["Sigmoid"] == {"FLOAT"}


def test_only_standard_operators_are_written(folders):
    for converted in folders.values():
        for path in converted.file.glob("*.onnx"):
            model = onnx.load(path)
            assert [opset.domain for opset in model.opset_import] == [""]
            assert not {node.op_type for node in model.graph.node} & {"DynamicQuantizeLinear", "MatMulInteger"}


def test_four_bits_are_blocks_with_positive_scales(folders):
    model = onnx.load(folders["int4", "text"].file / "1.onnx")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    blocks = [node for node in model.graph.node if any(a.name == "block_size" and a.i for a in node.attribute)]
    assert blocks and all(len(node.input) == 2 for node in blocks)
    for node in blocks:
        assert constants[node.input[0]].data_type == onnx.TensorProto.INT4
        assert (onnx.numpy_helper.to_array(constants[node.input[1]]) > 0).all()
    parameters, size = folders["int4", "text"].layers["int4"]
    assert parameters % (64 * 64 + 64 * 8) == 0 and size < 0.35 * 4 * parameters
    assert "zero points" in folders["int4", "text"].note


def test_shapes_of_inputs_have_profiles_up_to_the_tile(folders):
    converted = folders["fp16", "text"]
    (block,) = read_blocks(converted.file / CONTENTS, described(sized_text(), converted.file))
    profile = block.profiles["tokens"]
    assert (profile.smallest, profile.best, profile.largest) == ((1, 1), (1, 64), (1, 64))


def test_the_same_weights_give_the_same_bytes(folders, tmp_path):
    again = written(mask_component(), "int8", tmp_path)
    first = folders["int8", "vision"].file
    assert {path.name for path in again.file.iterdir()} == {path.name for path in first.iterdir()}
    assert all(path.read_bytes() == (first / path.name).read_bytes() for path in again.file.iterdir())


class Wide(nn.Module):
    """Float32 (rows, 4) -> the same; between its layers values are too large for half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 64), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is left of values that were multiplied by 10^5."""
        return self.down(self.up(x * 1e5)) * 1e-5


def test_what_overflows_in_half_precision_stays_in_float(tmp_path):
    component = odd_component(Wide, fixed=FixedForm(sizes=({"rows": 8},)))
    converted = written(component, "fp16", tmp_path)
    assert converted.parity.precision == "fp32" and "kept in float" in converted.note


def test_activations_that_lose_too_much_give_way_to_half_precision(tmp_path):
    module = seeded(TinyMask)
    with torch.no_grad():
        module.stem.bias[0] = 3e3  # one channel far beyond the others: 8 bits with one step can't hold both
        module.block.weight[:, 0] = module.head.weight[:, 0] = 0
        module.head.weight *= 20
    converted = written(mask_component(lambda: module), "int8", tmp_path)
    assert converted.parity.precision == "int8-fp16" and "in half precision, as with 8-bit" in converted.note
    model = onnx.load(converted.file / "1.onnx")
    assert "QuantizeLinear" not in {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("recipe", ["fp32", "fp16", "int8", "int4"])
@pytest.mark.parametrize("name", ["vision", "text"])
def test_nvidias_parser_reads_it_and_its_builder_builds_what_has_no_integers(folders, nvidia_python, recipe, name):
    assert nvidia.blocks_read(nvidia_python, folders[recipe, name].file, built=recipe.startswith("fp")) == 1
