"""Capture, rounding by slabs, and streaming, on a small network with every kind of layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny.given import Given
from torch import nn
from torch.nn import functional

from converters import slabs
from converters.capture import capture
from converters.recipe import Granularity, Layer, WeightScheme, load_recipe
from converters.rounding import restore_weight, round_weight
from converters.slabs import round_matrix, round_table
from converters.source import ComponentSource, Range, run_module
from converters.stored import StoredWeights
from converters.streamed_torch import convolution_ranges, read_source, run_streamed, widen
from converters.streaming import write_component
from edge_runtime.engines.onnxruntime import ENGINE
from edge_runtime.errors import ConversionError
from edge_runtime.manifest import Component, DataFile
from edge_runtime.tensors import TensorSpec


class Net(nn.Module):
    """Embedding, linear layers (one with an odd number of outputs, one used without being called), a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(500, 64)
        self.wide = nn.Linear(64, 96)
        self.odd = nn.Linear(96, 65, bias=False)
        self.sneaky = nn.Linear(65, 96)
        self.picture = nn.Conv2d(1, 64, 3, padding=1)
        self.second = nn.Conv2d(64, 64, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(96))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = functional.gelu(self.wide(self.table(ids)))
        hidden = functional.linear(self.odd(hidden), self.sneaky.weight, self.sneaky.bias) * self.scale
        planes = self.second(functional.relu(self.picture(hidden[:, None])))
        return hidden + planes.mean(1)


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def component(net) -> ComponentSource:
    rng = np.random.default_rng(0)
    return ComponentSource(
        name="net",
        module=Net,
        inputs=(TensorSpec(name="ids", dtype="int64", shape=(1, "tokens")),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, "tokens", 96)),),
        examples=tuple({"ids": rng.integers(0, 500, (1, length))} for length in (24, 31)),
        dimensions={"tokens": (2, 512)},
        weights=Given({name: value.detach().numpy() for name, value in net.state_dict().items()}),
    )


@pytest.fixture(scope="module")
def captured(component):
    return capture(component)


def served(component: ComponentSource, streamed, ids: np.ndarray) -> np.ndarray:
    description = Component(
        name="net", file=streamed.graph.name, precision="any", inputs=component.inputs, outputs=component.outputs,
        data=(DataFile(file=streamed.data.name, sha256=streamed.data_sha256, bytes=streamed.data.stat().st_size),),
    )  # fmt: skip
    with ENGINE.open(streamed.graph, description, threads=1) as session:
        return session.run({"ids": ids})["y"]


LEAST_DB = {
    "fp32": 110, "bf16": 45, "int8": 30, "int4": 15, "int4-plain": 15, "int4-b128": 13, "int4-lr32": 15,
    "int4-channel": 10, "nf4": 15,
}  # fmt: skip


@pytest.mark.parametrize("name", LEAST_DB)
def test_every_recipe_runs_and_is_as_near_as_it_should_be(component, captured, net, tmp_path, name):
    streamed = write_component(captured.copy(), component, load_recipe(name), tmp_path)
    onnx.checker.check_model(str(streamed.graph))
    for example in component.examples:
        wanted = run_module(net, component, example)["y"]
        lost = served(component, streamed, example["ids"]) - wanted
        assert 10 * np.log10(np.square(wanted).sum() / np.square(lost).sum()) > LEAST_DB[name]
    layers = {layer.tensor: layer.precision for layer in streamed.layers}
    if name.startswith("int4"):
        assert layers["wide.weight"] == layers["odd.weight"] == "int4" and layers["table.weight"] == "int8"
        assert layers["scale"] == layers["wide.bias"] == "fp32"


@pytest.mark.parametrize("name", LEAST_DB)
def test_what_is_stored_is_what_the_runtime_computes_with(component, captured, tmp_path, name):
    streamed = write_component(captured.copy(), component, load_recipe(name), tmp_path)
    ids = component.examples[0]["ids"]
    again = run_streamed(component, {"ids": ids}, StoredWeights(streamed.graph).read)["y"]
    ran = served(component, streamed, ids)  # 4-bit kernels round what goes in to 8 bits
    assert np.abs(again - ran).max() <= 2e-2 * np.abs(again).max()


def test_two_conversions_are_equal_to_the_last_byte(component, captured, tmp_path):
    written = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        streamed = write_component(captured.copy(), component, load_recipe("int4"), tmp_path / place)
        written.append((streamed.graph.read_bytes(), streamed.data.read_bytes(), streamed.data_sha256))
    assert written[0] == written[1]


def test_convolutions_with_ranges_compute_in_8_bits(component, captured, net, tmp_path):
    samples = [{"ids": np.random.default_rng(i).integers(0, 500, (1, 24))} for i in range(8)]
    ranges = convolution_ranges(component, samples)
    assert set(ranges) == {"picture.weight", "second.weight"} and ranges["second.weight"].input_low == 0
    streamed = write_component(captured.copy(), component, load_recipe("int8"), tmp_path, ranges=ranges)
    assert "QLinearConv" in optimised(streamed, tmp_path)
    wanted = run_module(net, component, samples[0])["y"]
    lost = served(component, streamed, samples[0]["ids"]) - wanted
    assert 10 * np.log10(np.square(wanted).sum() / np.square(lost).sum()) > 30


def optimised(streamed, folder):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(str(streamed.graph), options)
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


def test_matrix_products_compute_in_8_bits(component, captured, tmp_path):
    streamed = write_component(captured.copy(), component, load_recipe("int8"), tmp_path)
    kinds = optimised(streamed, tmp_path)
    # one product each, of what rounds the rows and what scales the result nothing is left but what rows need
    assert kinds.count("DynamicQuantizeMatMul") == 3 and "MatMul" not in kinds and "MatMulNBits" not in kinds
    (tmp_path / "plain").mkdir()
    streamed = write_component(captured.copy(), component, load_recipe("int8").without_rows(), tmp_path / "plain")
    assert "MatMulNBits" in optimised(streamed, tmp_path)


class Line(nn.Linear):
    """One layer."""

    def __init__(self) -> None:
        super().__init__(256, 128)


def share_lost_by_row(rows, folder, even_rows=()):
    """Convert a layer to int8; return what its rows lose of their length, 0 and up, and the operators that it runs."""
    torch.manual_seed(0)
    line = Line().eval()
    source = ComponentSource(
        name="line", module=Line, dimensions={"tokens": (2, 512)}, examples=({"x": rows},), even_rows=even_rows,
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, "tokens", 256)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, "tokens", 128)),),
        weights=Given({name: value.detach().numpy() for name, value in line.state_dict().items()}),
    )  # fmt: skip
    streamed = write_component(capture(source), source, load_recipe("int8"), folder)
    wanted = run_module(line, source, {"x": rows})["y"]
    description = Component(
        name="line", file="line.onnx", precision="int8", inputs=source.inputs, outputs=source.outputs,
        data=(DataFile(file=streamed.data.name, sha256=streamed.data_sha256, bytes=streamed.data.stat().st_size),),
    )  # fmt: skip
    with ENGINE.open(streamed.graph, description, threads=1) as session:
        lost = session.run({"x": rows})["y"] - wanted
    return np.linalg.norm(lost, axis=2)[0] / np.linalg.norm(wanted, axis=2)[0], optimised(streamed, folder)


def test_a_row_of_outliers_coarsens_no_other(tmp_path):
    rows = np.random.default_rng(1).standard_normal((1, 16, 256)).astype(np.float32)
    rows[0, 0] *= 500  # such tokens occur in every large language model
    rows[0, 1] = 0
    lost, _ = share_lost_by_row(rows, tmp_path)
    assert lost[1] < 1e-6  # a row of zeros gives the bias
    assert lost.max() < 0.03, lost


def test_rows_that_are_even_are_one_kernel_with_the_bias(tmp_path):
    rows = np.random.default_rng(1).standard_normal((1, 16, 256)).astype(np.float32)
    lost, kinds = share_lost_by_row(rows, tmp_path, even_rows=("w*",))
    assert kinds == ["DynamicQuantizeMatMul"] and lost.max() < 0.03, lost


def test_a_weight_that_4_bits_ruin_gets_8(component, captured, tmp_path):
    tensors = dict(component.weights.tensors)
    spoilt = np.full_like(tensors["wide.weight"], 1e-3) * np.random.default_rng(0).standard_normal((96, 64))
    spoilt[:, ::32] = 30.0  # one outlier a block: all the rest is nothing beside it
    tensors["wide.weight"] = spoilt.astype(np.float32)
    tensors["odd.weight"] = np.where(np.arange(96) % 32 == 0, 0.1, tensors["odd.weight"]).astype(np.float32)
    spoilt_component = replace(component, weights=Given(tensors))
    streamed = write_component(captured.copy(), spoilt_component, load_recipe("int4"), tmp_path)
    by_name = {layer.tensor: layer for layer in streamed.layers}
    assert by_name["odd.weight"].precision == "int4"
    raised = write_component(
        captured.copy(), component, load_recipe("int4"), _new(tmp_path), raised=frozenset({"odd.weight"})
    )
    record = next(layer for layer in raised.layers if layer.tensor == "odd.weight")
    assert record.precision == "int8" and record.promoted and record.snr_db > 40


def _new(folder):
    (folder / "new").mkdir()
    return folder / "new"


def test_weights_used_without_their_module_are_read_too(component, net):
    found = run_streamed(component, component.examples[0], read_source(component))["y"]
    assert np.array_equal(found, run_module(net, component, component.examples[0])["y"])


def test_a_tensor_that_no_file_has_is_named(component):
    tensors = {name: value for name, value in component.weights.tensors.items() if name != "sneaky.weight"}
    poor = replace(component, weights=Given(tensors))
    with pytest.raises(ConversionError, match=r"sneaky\.weight"):
        run_streamed(poor, component.examples[0], read_source(poor))
    with pytest.raises(ConversionError, match=r"sneaky\.weight"):
        capture(poor)


def test_excluded_layers_stay_float(component, captured, tmp_path):
    kept = replace(component, exclude=("wi*",))
    streamed = write_component(captured.copy(), kept, load_recipe("int4"), tmp_path)
    assert {layer.precision for layer in streamed.layers if layer.tensor == "wide.weight"} == {"fp32"}


@pytest.mark.parametrize("shape", [(96, 64), (65, 96), (6, 40), (3000, 128)])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("searched", [False, True])
def test_slabs_round_as_the_plain_definition_does(shape, bits, searched):
    weight = np.random.default_rng(0).standard_normal(shape, np.float32)
    scheme = WeightScheme(bits=bits, granularity=Granularity.BLOCK, group_size=32, searched=searched)
    codes, scales = round_weight(weight.T.copy(), scheme)
    rounded = round_matrix(weight, scheme)
    assert rounded.shape == codes.shape
    lost = np.square(restore_weight(codes, scales, scheme) - weight.T).sum()
    # 8-bit scales are positive here, which leaves one code of 256 unused
    exact = 10 * np.log10(np.square(weight).sum() / lost)
    assert rounded.snr_db == pytest.approx(exact, abs=0.02 if bits == 4 else 0.6)
    if not searched and bits == 4:
        np.testing.assert_allclose(rounded.scales, scales, rtol=1e-6)


def test_slabs_of_any_size_give_the_same(monkeypatch):
    weight = np.random.default_rng(0).standard_normal((300, 96), np.float32)
    scheme = WeightScheme(bits=4, granularity=Granularity.BLOCK, group_size=32, zero_points=True)
    whole = round_matrix(weight, scheme)
    monkeypatch.setattr(slabs, "SLAB_VALUES", 1000)
    pieces = round_matrix(lambda start, stop: weight[start:stop], scheme, weight.shape)
    assert np.array_equal(whole.codes, pieces.codes) and np.array_equal(whole.zero_points, pieces.zero_points)


def test_zero_points_pay_where_values_lie_to_one_side():
    weight = np.random.default_rng(0).standard_normal((64, 128), np.float32) + 3
    plain = WeightScheme(bits=4, granularity=Granularity.BLOCK, group_size=32)
    assert round_matrix(weight, replace(plain, zero_points=True)).snr_db > round_matrix(weight, plain).snr_db - 0.01
    shifted = np.abs(weight)
    assert round_matrix(shifted, replace(plain, zero_points=True)).snr_db > round_matrix(shifted, plain).snr_db + 3


def test_zeros_and_tiny_values_stay_finite():
    weight = np.zeros((8, 64), np.float32)
    weight[0, 40] = 1e-38
    for scheme in (load_recipe("int4").layers[Layer.MATMUL].weights, load_recipe("int8").layers[Layer.MATMUL].weights):
        rounded = round_matrix(weight, scheme)
        assert np.isfinite(rounded.scales).all()
    codes, scales, _ = round_table(lambda start, stop: weight[start:stop], weight.shape)
    assert np.isfinite(scales).all() and not codes[1:].any()


def test_a_range_always_holds_zero():
    span = Range()
    widen(span, torch.tensor([2.0, 3.0]), torch.tensor([-5.0, -4.0]))
    assert (span.input_low, span.input_high, span.output_low, span.output_high) == (0, 3, -5, 0)
