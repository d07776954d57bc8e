"""What of a recipe TensorRT takes, and in which form."""

import pytest

from converters.recipe import Layer, load_recipe
from converters.tensorrt.schemes import check_expressible, fitted, weights_alone
from edge_runtime.errors import ConversionError


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("nf4", "TensorRT has no form.*matmul.*nf4.*integer, float16"),
        ("int4-palette", "TensorRT has no form.*convolution.*palette"),
        ("bf16", "TensorRT has no form.*bfloat16"),
        ("int4-lr32", "no such weights.*TensorRT.*matmul.*rank 32.*fp16, int8 or int4"),
    ],
)
def test_recipes_that_tensorrt_has_no_form_for_are_refused(recipe, message):
    with pytest.raises(ConversionError, match=message):
        check_expressible(load_recipe(recipe))


@pytest.mark.parametrize("recipe", ["fp32", "fp16", "int8", "int4", "int4-b128", "int4-channel", "int4-plain"])
def test_the_same_layers_have_the_same_bits_with_codes_around_zero(recipe):
    plain = load_recipe(recipe).without_rows()
    check_expressible(plain)
    wanted = fitted(plain)
    assert {kind: each.weights.bits for kind, each in wanted.layers.items()} == {
        kind: each.weights.bits for kind, each in plain.layers.items()
    }
    for scheme in wanted.layers.values():
        assert not scheme.weights.zero_points and not scheme.weights.reduced_range
        assert scheme.activations is None or scheme.activations.signed


def test_weights_alone_keep_their_bits():
    wanted = fitted(load_recipe("int8").without_rows())
    assert wanted.layers[Layer.CONVOLUTION].calibrated
    assert not any(scheme.activations for scheme in weights_alone(wanted).layers.values())
