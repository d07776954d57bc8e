"""Low-rank paths beside 4-bit weights: what they win, and real onnxruntime sessions that compute with them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from stand_ins import seeded, text_component
from torch import nn

from converters.low_rank import nearest_of_rank, pays_off, split_weight
from converters.parity import measure, reference_outputs
from converters.recipe import Granularity, Layer, Recipe, WeightScheme, load_recipe
from converters.rounding import restore_weight, round_weight
from converters.source import ComponentSource
from converters.targets.onnx import TARGET
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec

PLAIN = WeightScheme(bits=4, granularity=Granularity.BLOCK, group_size=32, searched=True)
LR16 = replace(PLAIN, rank=16)


def random_weight(kind: str, shape: tuple[int, int]) -> np.ndarray:
    """Return float32 (inputs, outputs): normal, heavy-tailed, or with a few strong directions beside noise."""
    random = np.random.default_rng(0)
    if kind == "heavy":
        return random.standard_t(4, size=shape).astype(np.float32)
    noise = random.normal(size=shape)
    if kind == "directions":
        noise += random.normal(size=(shape[0], 8)) @ random.normal(size=(8, shape[1]))
    return noise.astype(np.float32)


def plainly_rounded(weight: np.ndarray) -> np.ndarray:
    return restore_weight(*round_weight(weight, PLAIN), PLAIN)


def restored(weight: np.ndarray, scheme: WeightScheme) -> np.ndarray:
    split = split_weight(weight, scheme)
    assert split.codes.astype(int).min() >= -8 and split.codes.astype(int).max() < 8
    return restore_weight(split.codes, split.scales, scheme) + split.left @ split.right


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (32, 32)])
def test_nearest_of_rank_is_the_truncated_singular_value_decomposition(shape):
    matrix = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    left, right = nearest_of_rank(matrix, 5)
    assert (left.shape, right.shape) == ((shape[0], 5), (5, shape[1]))
    assert left.dtype == right.dtype == np.float32
    u, singular, v = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(left @ right, u[:, :5] * singular[:5] @ v[:5], atol=1e-5)


@pytest.mark.parametrize("shape", [(256, 192), (192, 256), (200, 256)])
@pytest.mark.parametrize(("kind", "share"), [("normal", 0.75), ("heavy", 0.75), ("directions", 0.3)])
def test_outputs_are_closer(kind, share, shape):
    weight = random_weight(kind, shape)
    x = np.random.default_rng(3).normal(size=(300, shape[0])).astype(np.float32)
    plain, split = (
        np.square(x @ (rounded - weight)).sum() for rounded in (plainly_rounded(weight), restored(weight, LR16))
    )
    assert split < share * plain


@pytest.mark.parametrize("kind", ["normal", "heavy", "directions"])
def test_turns_beat_one_correction_of_the_rounding_error(kind):
    weight = random_weight(kind, (256, 192))
    lost = weight - plainly_rounded(weight)
    left, right = nearest_of_rank(lost, LR16.rank)
    assert np.square(restored(weight, LR16) - weight).sum() < 0.95 * np.square(lost - left @ right).sum()


def test_a_weight_of_low_rank_loses_nothing():
    random = np.random.default_rng(4)
    weight = (random.normal(size=(128, 7)) @ random.normal(size=(7, 96))).astype(np.float32)
    assert np.abs(restored(weight, LR16) - weight).max() < 1e-4 * np.abs(weight).max()


def test_zeros_stay_zeros():
    weight = random_weight("normal", (128, 96))
    weight[:, 3] = 0.0
    assert np.abs(restored(weight, LR16)[:, 3]).max() < 0.02
    assert (restored(np.zeros((64, 64), np.float32), LR16) == 0.0).all()


def test_thin_matrices_have_a_quarter_of_the_float_weight_at_most():
    assert pays_off((256, 256), 32) and pays_off((1024, 1024), 32)
    assert not pays_off((256, 255), 32) and not pays_off((64, 4096), 32)
    assert not pays_off((1024, 1024), 0)


class Perceptron(nn.Module):
    """float32 (rows, 320) -> (rows, 10); the first layer is large, and runs twice, the last one is small."""

    def __init__(self) -> None:
        super().__init__()
        self.large, self.small = nn.Linear(320, 320), nn.Linear(320, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.small(torch.relu(self.large(torch.relu(self.large(x)))))


@pytest.fixture(scope="module")
def perceptron(tmp_path_factory):
    """The component, the file of its float graph, that of int4-lr32 and that of int4."""
    random = np.random.default_rng(5)
    component = ComponentSource(
        name="perceptron",
        module=lambda: seeded(Perceptron),
        inputs=(TensorSpec(name="x", dtype="float32", shape=("rows", 320)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("rows", 10)),),
        dimensions={"rows": (1, 100)},
        examples=tuple({"x": random.normal(size=(rows, 320)).astype(np.float32)} for rows in (50, 1)),
    )
    folder = tmp_path_factory.mktemp("perceptron")
    files = [folder / f"{name}.onnx" for name in ("float", "int4-lr32", "int4")]
    TARGET.export(component, files[0])
    for file in files[1:]:
        assert TARGET.quantise(component, load_recipe(file.stem), files[0], file).precision == "int4"
    return component, *files


def test_sessions_compute_with_both_paths(perceptron):
    component, _, file, _ = perceptron
    module = component.module()
    scheme = load_recipe("int4-lr32").layers[Layer.MATMUL].weights
    with torch.no_grad():
        large = restored(module.large.weight.numpy().T.copy(), scheme)
        small = restore_weight(*round_weight(module.small.weight.numpy().T.copy(), scheme), scheme)
        module.large.weight.copy_(torch.from_numpy(large.T.copy()))
        module.small.weight.copy_(torch.from_numpy(small.T.copy()))
    for runner in TARGET.runners(component, file):
        for example in component.examples:
            expected = module(torch.from_numpy(example["x"])).detach().numpy()
            np.testing.assert_allclose(runner(example)["y"], expected, atol=1e-5)


def test_the_graph_stands_closer_to_torch(perceptron):
    component, _, *files = perceptron
    figures = []
    for file in files:
        parity = measure(component, reference_outputs(component), TARGET.runners(component, file), "int4")
        assert parity.failure is None, parity.failure
        figures.append(next(figure.value for figure in parity.figures if figure.name == "snr_db"))
    assert figures[0] > figures[1] + 0.5


def test_standard_operators_and_one_copy_of_a_shared_weight(perceptron):
    _, _, file, plain = perceptron
    model = onnx.load(file)
    counts = [Counter(node.op_type for node in onnx.load(path).graph.node) for path in (file, plain)]
    # two thin products and a sum for each use of the large matrix, none for the small one
    assert counts[0] - counts[1] == Counter(MatMul=4, Add=2)
    assert {node.domain for node in model.graph.node} == {""}
    thin = [tuple(tensor.dims) for tensor in model.graph.initializer if tensor.name.endswith((".left", ".right"))]
    assert sorted(thin) == [(32, 320), (320, 32)]
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)


def test_same_input_same_bytes(perceptron, tmp_path):
    component, exported, file, _ = perceptron
    TARGET.quantise(component, load_recipe("int4-lr32"), exported, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == file.read_bytes()


def test_the_recipe_is_int4_with_a_rank():
    schemes = [load_recipe(name).without_rows().layers[Layer.MATMUL].weights for name in ("int4", "int4-lr32")]
    # what the thin matrices take up leaves values that lie to both sides: zero points would gain nothing
    assert schemes[1] == replace(schemes[0], rank=32, zero_points=False)


@pytest.mark.parametrize("rank", [-1, 1.5, "32", None])
def test_ranks_that_are_none_are_refused(rank):
    with pytest.raises(ConversionError, match="Rank is not usable"):
        replace(PLAIN, rank=rank)


@pytest.mark.parametrize(
    ("layer", "weights", "activations", "message"),
    [
        ("matmul", {"bits": 8, "granularity": "channel"}, {"bits": 8, "signed": False}, "weights alone"),
        ("convolution", {"bits": 8, "granularity": "channel"}, {"bits": 8, "signed": False}, "matrix products"),
        ("embedding", {"bits": 8, "granularity": "channel"}, None, "matrix products.*embedding"),
    ],
)
def test_where_onnx_has_no_low_rank_path_it_is_refused(layer, weights, activations, message, exported, tmp_path):
    scheme = {"weights": {**weights, "rank": 8}, "activations": activations}
    odd = Recipe.from_json("odd", {"description": "", "layers": {layer: scheme}, "calibration": {"samples": 4}})
    with pytest.raises(ConversionError, match=message):
        TARGET.quantise(text_component(), odd, exported / "text.onnx", tmp_path / "odd.onnx")
