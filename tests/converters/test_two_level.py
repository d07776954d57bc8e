"""4-bit weights whose scales are whole numbers: what they lose, and what graphs make of them."""

import numpy as np
import onnx
import pytest
import torch
from tiny.given import Given
from torch import nn

from converters.capture import capture
from converters.recipe import Layer, load_recipe
from converters.slabs import ENOUGH_DB, round_matrix
from converters.source import ComponentSource, run_module
from converters.streaming import write_component
from converters.two_level import round_two_level, unpacked
from edge_runtime.engines import onnxruntime as engine
from edge_runtime.manifest import Component, DataFile
from edge_runtime.tensors import TensorSpec

SCHEME = load_recipe("int4").layers[Layer.MATMUL].weights
IN_FLOAT = load_recipe("int4").without_rows().layers[Layer.MATMUL].weights
RNG = np.random.default_rng(0)
MATRICES = {
    "normal": RNG.standard_normal((300, 512)),
    "heavy": RNG.standard_t(5, (300, 512)),
    "some inputs large": RNG.standard_normal((300, 512)) * np.exp(0.7 * RNG.standard_normal(512)),
    "to one side": RNG.standard_normal((300, 512)) + 1.5,
    "tiny": RNG.standard_normal((300, 512)) * 1e-12,
    "one row": RNG.standard_normal((1, 512)),
}


def rounded(matrix):
    return round_two_level(lambda start, stop: matrix[start:stop], matrix.shape, SCHEME)


@pytest.mark.parametrize("name", MATRICES)
def test_it_loses_less_than_scales_in_float_and_takes_less_room(name):
    matrix = MATRICES[name].astype(np.float32)
    found = rounded(matrix)
    whole = unpacked(found.codes, found.blocks)
    assert whole.shape == (512, len(matrix)) and np.abs(whole.astype(int)).max() <= 64
    lost = (whole * found.steps).T - matrix
    snr_db = 10 * np.log10(np.square(matrix, dtype=np.float64).sum() / np.square(lost, dtype=np.float64).sum())
    assert snr_db == pytest.approx(found.snr_db, abs=0.01)
    assert snr_db > round_matrix(matrix, IN_FLOAT).snr_db + (0.2 if name != "to one side" else -0.1)
    assert found.codes.nbytes + found.blocks.nbytes == matrix.size * 4.5 / 8


def test_rows_of_zeros_stay_zeros():
    matrix = np.zeros((4, 32), np.float32)
    matrix[1, 3] = 1e-36  # too small for a step
    found = rounded(matrix)
    assert not unpacked(found.codes, found.blocks).any() and found.snr_db == ENOUGH_DB
    matrix[2, :16] = 7
    found = rounded(matrix)
    whole = unpacked(found.codes, found.blocks)
    assert whole[:, 2].any() and not whole[:, [0, 1, 3]].any() and np.isfinite(found.steps).all()


class Lines(nn.Module):
    """One layer that has whole blocks and one that hasn't."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.odd = nn.Linear(256, 520), nn.Linear(520, 512)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.odd(self.whole(x))


@pytest.fixture(scope="module")
def lines():
    torch.manual_seed(0)
    net = Lines().eval()
    tensors = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    return net, tensors


def test_graphs_multiply_what_the_codes_say_and_unpack_it_in_every_run(lines, tmp_path, monkeypatch):
    net, tensors = lines
    rows = RNG.standard_normal((1, 24, 256)).astype(np.float32)
    source = ComponentSource(
        name="lines", module=Lines, dimensions={"tokens": (2, 512)}, examples=({"x": rows},),
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, "tokens", 256)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, "tokens", 512)),), weights=Given(tensors),
    )  # fmt: skip
    streamed = write_component(capture(source), source, load_recipe("int4"), tmp_path)
    onnx.checker.check_model(str(streamed.graph))
    precisions = {layer.tensor: layer.precision for layer in streamed.layers}
    assert precisions["whole.weight"] == precisions["odd.weight"] == "int4"
    kinds = [node.op_type for node in onnx.load(streamed.graph, load_external_data=False).graph.node]
    assert kinds.count("MatMulInteger") == 1 and kinds.count("MatMul") == 1, "520 inputs have no whole blocks of 16"

    described = Component(
        name="lines", file="lines.onnx", precision="int4", inputs=source.inputs, outputs=source.outputs,
        data=(DataFile(file=streamed.data.name, sha256=streamed.data_sha256, bytes=streamed.data.stat().st_size),),
    )  # fmt: skip
    real = engine._session_options

    def options(threads):
        made = real(threads)
        made.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        return made

    monkeypatch.setattr(engine, "_session_options", options)
    with engine.ENGINE.open(streamed.graph, described, threads=1) as opened:
        found = opened.run({"x": rows})["y"]
    wanted = run_module(net, source, {"x": rows})["y"]
    assert 10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum()) > 18
    kept = onnx.load(tmp_path / "optimised.onnx")
    done = [node.op_type for node in kept.graph.node]
    assert done.count("QLinearAdd") == 2, "codes and blocks are taken apart in bytes, and in every run"
