"""What TFLite can hold of a plan, and scales that its kernels accept."""

from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.recipe import Granularity, Layer, LayerScheme, WeightScheme, load_recipe
from converters.tflite_graph import Use
from converters.tflite_weights import LEAST_SCALE, Stored, check_recipe, clamp_scales, stored, with_float_inputs
from edge_runtime.errors import ConversionError

BLOCKS = load_recipe("int4").without_rows().layers[Layer.MATMUL]
BY_CHANNEL = WeightScheme(bits=8, granularity=Granularity.CHANNEL)


def use(operator: str, *shape: int) -> Use:
    return Use(operator, "0.1", "layer.weight", shape)


def test_blocks_of_four_bits_without_zero_points():
    wanted = WeightScheme(bits=4, granularity=Granularity.BLOCK, group_size=32)
    assert stored(use("FULLY_CONNECTED", 8, 64), BLOCKS) == Stored(wanted)


def test_blocks_that_do_not_fit_become_channels():
    found = stored(use("FULLY_CONNECTED", 8, 40), BLOCKS)
    assert found.scheme == WeightScheme(bits=4, granularity=Granularity.CHANNEL)
    assert "blocks don't fit" in found.change


def test_convolutions_have_no_blocks():
    found = stored(use("CONV_2D", 8, 3, 3, 32), BLOCKS)
    assert found.scheme == WeightScheme(bits=4, granularity=Granularity.CHANNEL)


@pytest.mark.parametrize("scheme", [BLOCKS, LayerScheme(weights=BY_CHANNEL)])
def test_depthwise_convolutions_stay_in_float(scheme):
    found = stored(use("DEPTHWISE_CONV_2D", 1, 3, 3, 32), scheme)
    assert found.scheme is None and "no fast kernel" in found.change


def test_eight_bits():
    scheme = LayerScheme(weights=replace(BY_CHANNEL, reduced_range=True))
    assert stored(use("CONV_2D", 8, 3, 3, 5), scheme) == Stored(BY_CHANNEL)
    assert stored(use("CONV_3D", 8, 3, 3, 3, 5), scheme).scheme is None


def test_only_eight_bits_are_unpacked_for_float_inputs():
    eight = with_float_inputs(stored(use("CONV_2D", 8, 3, 3, 5), LayerScheme(weights=BY_CHANNEL)))
    assert eight.float_inputs and eight.scheme == BY_CHANNEL and "float activations" in eight.change
    four = stored(use("FULLY_CONNECTED", 8, 64), BLOCKS)
    assert with_float_inputs(four) == four


@pytest.mark.parametrize("name", ["nf4", "bf16", "int4-lr32"])
def test_recipes_that_tflite_has_no_form_for(name):
    with pytest.raises(ConversionError) as caught:
        check_recipe(load_recipe(name))
    assert all(word in str(caught.value) for word in (name, "fp32, int8 or int4"))


def test_scales_of_nothing_are_raised_and_codes_follow():
    codes = np.array([[7, -8] * 16, [7, -8] * 16, [3, -4] * 16], np.int8)
    scales = np.array([0.0, 3e-5, 0.5], np.float16)
    tensor, scale, graph, model = schema.TensorT(), schema.TensorT(), schema.SubGraphT(), schema.ModelT()
    tensor.buffer, scale.buffer = 1, 2
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.details = schema.BlockwiseQuantizationT()
    tensor.quantization.details.scales, tensor.quantization.details.blockSize = 1, 32
    graph.tensors, model.subgraphs = [tensor, scale], [graph]
    model.buffers = [schema.BufferT(), schema.BufferT(), schema.BufferT()]
    nibbles = (codes.reshape(-1, 2) & 15).astype(np.uint8)
    model.buffers[1].data = nibbles[:, 0] | (nibbles[:, 1] << 4)
    model.buffers[2].data = np.frombuffer(scales.tobytes(), np.uint8)

    assert clamp_scales(model) == 2

    raised = np.frombuffer(bytes(model.buffers[2].data), np.float16)
    assert (raised >= LEAST_SCALE).all() and raised[2] == scales[2]
    packed = np.frombuffer(bytes(model.buffers[1].data), np.uint8)
    signed = np.stack([packed & 15, packed >> 4], 1).reshape(3, 32).astype(np.int8)
    signed[signed > 7] -= 16
    before = codes * scales.astype(np.float32)[:, None]
    after = signed * raised.astype(np.float32)[:, None]
    assert np.abs(before - after).max() <= LEAST_SCALE / 2
    np.testing.assert_array_equal(signed[2], codes[2])
