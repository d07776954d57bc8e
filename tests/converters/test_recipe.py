import copy
import json

import pytest

from converters.recipe import FOLDER, Granularity, Layer, Recipe, load_recipe, recipe_for, recipe_names
from edge_runtime.errors import ConversionError, OptionError

INT8 = json.loads((FOLDER / "int8.json").read_text(encoding="utf-8"))


def changed(*path: str, value: object) -> dict[str, object]:
    data = copy.deepcopy(INT8)
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


def test_every_recipe_of_the_project_is_valid():
    assert set(recipe_names()) >= {"fp32", "int8", "int4", "int4-lr32", "nf4"}
    for name in recipe_names():
        assert load_recipe(name).description


def test_fp32_quantises_nothing():
    assert load_recipe("fp32").layers == {}


@pytest.mark.parametrize("layer", [Layer.CONVOLUTION, Layer.MATMUL])
def test_int8_leaves_a_bit_unused_where_processors_without_vnni_would_overflow(layer):
    scheme = load_recipe("int8").layers[layer]
    assert scheme.weights.reduced_range
    assert scheme.activations is not None and not scheme.activations.signed


def test_rows_are_rounded_beside_plain_8_bit_weights_alone():
    data = json.loads(json.dumps(INT8))
    data["layers"]["matmul"]["weights"] = {"bits": 4, "granularity": "block", "group_size": 32}
    with pytest.raises(ConversionError, match="by row need plain weights"):
        Recipe.from_json("rows", data)


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_only_onnx_rounds_rows(name):
    assert recipe_for(name, "onnx") == load_recipe(name) and load_recipe(name).by_rows
    for target in ("tflite", "coreml", "tensorrt"):
        assert recipe_for(name, target) == load_recipe(name).without_rows()


def test_without_rows_weights_use_all_their_bits():
    recipe = load_recipe("int8")
    plain = recipe.without_rows()
    assert recipe.by_rows and not plain.by_rows
    assert plain.layers[Layer.MATMUL].activations is None
    assert not plain.layers[Layer.MATMUL].weights.reduced_range
    assert plain.layers[Layer.CONVOLUTION] == recipe.layers[Layer.CONVOLUTION]


def test_int4_has_blocks():
    scheme = load_recipe("int4").layers[Layer.MATMUL]
    assert scheme.by_rows and scheme.weights.two_level and scheme.weights.group_size == 16
    weights = load_recipe("int4").without_rows().layers[Layer.MATMUL].weights
    assert (weights.bits, weights.granularity, weights.group_size) == (4, Granularity.BLOCK, 32)
    assert weights.searched and not weights.two_level


@pytest.mark.parametrize("change", [
    lambda scheme: scheme.pop("in_float"), lambda scheme: scheme.update(in_float=scheme["weights"]),
    lambda scheme: scheme.pop("activations"), lambda scheme: scheme["weights"].update(searched=True),
    lambda scheme: scheme["weights"].update(zero_points=False),
])  # fmt: skip
def test_scales_of_two_levels_need_rows_and_a_form_without_them(change):
    data = json.loads((FOLDER / "int4.json").read_text())
    change(data["layers"]["matmul"])
    with pytest.raises(ConversionError, match="ctivations rounded by row"):
        Recipe.from_json("int4", data)


def test_unknown_name_lists_what_exists():
    with pytest.raises(OptionError, match="int2.*Allowed: bf16, fp16, fp32, int4, int4-b128, int4-channel.*, nf4"):
        load_recipe("int2")


@pytest.mark.parametrize(
    "data",
    [
        changed("speed", value="fast"),
        changed("layers", "convolution", "colour", value="red"),
        changed("layers", "convolution", "weights", "rounding", value="up"),
        changed("layers", "attention", value=INT8["layers"]["matmul"]),
        changed("layers", "matmul", "weights", value={"bits": 3, "granularity": "channel"}),
        changed("layers", "matmul", "weights", value={"bits": 8, "granularity": "row"}),
        changed("layers", "matmul", "weights", value={"bits": 4, "granularity": "block"}),
        changed("layers", "matmul", "weights", value={"bits": 4, "granularity": "block", "group_size": 33}),
        changed("layers", "matmul", "weights", value={"bits": 4, "granularity": "channel", "group_size": 32}),
        changed("layers", "matmul", "weights", value={"bits": 4}),
        changed("layers", "matmul", "activations", value={"bits": 16, "signed": False}),
        changed("between", value=["softmax"]),
        changed("calibration", value={"samples": 0}),
        changed("calibration", value={"method": "guess", "samples": 8}),
        changed("calibration", value=None),
        changed("name", value="other"),
        [],
        None,
        {},
    ],
)
def test_malformed_recipes_are_refused(data):
    with pytest.raises(ConversionError):
        Recipe.from_json("int8", data)


def test_the_message_names_the_key_at_fault():
    with pytest.raises(ConversionError, match="speed"):
        Recipe.from_json("int8", changed("speed", value="fast"))
