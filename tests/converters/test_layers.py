"""One plan for all formats: which parameters become smaller."""

import onnx
import pytest
from stand_ins import TinyMask, TinyText, mask_component, seeded, text_component
from torch import nn

from converters.calibration import load_calibration
from converters.component import kept_in_float
from converters.layers import layer_schemes, planned_layers, precision_of
from converters.quantise import initialisers_of
from converters.recipe import Layer, load_recipe
from converters.sources.nano_banana import SOURCE
from converters.targets.onnx import TARGET


def test_layers_are_found_by_their_kind():
    recipe = load_recipe("int4")
    assert layer_schemes(seeded(TinyMask), recipe) == {
        f"{name}.weight": recipe.layers[Layer.CONVOLUTION] for name in ("stem", "block", "head")
    }
    assert layer_schemes(seeded(TinyText), recipe) == {
        "bytes.weight": recipe.layers[Layer.EMBEDDING],
        "hidden.weight": recipe.layers[Layer.MATMUL],
        "head.weight": recipe.layers[Layer.MATMUL],
    }


def test_a_module_that_is_a_layer_itself():
    assert list(layer_schemes(nn.Linear(4, 4), load_recipe("int8"))) == ["weight"]


def test_patterns_keep_layers_in_float():
    assert set(planned_layers(mask_component(exclude=("h*", "*stem*")), load_recipe("int8"))) == {"block.weight"}
    assert layer_schemes(seeded(TinyMask), load_recipe("fp32")) == {}


def test_precisions_have_names():
    layers = load_recipe("int4").layers
    assert precision_of(layers.values()) == "int4-int8"
    assert precision_of([layers[Layer.MATMUL]]) == "int4"
    assert precision_of([]) == "fp32"


def test_the_exporter_loses_no_layer(exported):
    for component in (mask_component(), text_component()):
        parameters = {name: value.detach().numpy() for name, value in component.module().named_parameters()}
        held = initialisers_of(onnx.load(exported / f"{component.name}.onnx"), parameters)
        assert {name for name in held.values() if name.endswith("weight")} == set(
            planned_layers(component, load_recipe("int8"))
        )


UNREAD = {"vision": {"net.coarse_head.weight"}}  # a second head, for training


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text", "vision", "restore"])
def test_onnx_holds_the_whole_plan_of_nano_banana(name, tmp_path):
    model = SOURCE.open(SOURCE.default_checkpoint, load_calibration(None))
    component = next(component for component in model.components if component.name == name)
    TARGET.export(component, tmp_path / "graph.onnx")
    parameters = {key: value.detach().numpy() for key, value in component.module().named_parameters()}
    held = set(initialisers_of(onnx.load(tmp_path / "graph.onnx"), parameters).values())
    for recipe in ("int8", "int4"):
        plan = planned_layers(component, load_recipe(recipe))
        assert set(plan) - held == UNREAD.get(name, set())
        assert plan, kept_in_float(component, load_recipe(recipe))
