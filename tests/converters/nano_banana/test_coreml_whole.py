"""Every graph of nano-banana as a Core ML package, in the interpreter, against torch at sizes it was not traced at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converters.calibration import load_calibration
from converters.component import convert_component
from converters.parity import measure, peak_signal_to_noise_db, reference_outputs, signal_to_noise_db
from converters.recipe import load_recipe
from converters.source import ComponentSource, run_module
from converters.sources.nano_banana import SOURCE
from converters.targets.coreml import TARGET

pytestmark = pytest.mark.slow
LEARNED = ("text", "vision", "restore")
OTHERS = ("auto", "fill", "context", "render", "context_full", "render_full")


@pytest.fixture(scope="module")
def components() -> dict[str, ComponentSource]:
    model = SOURCE.open(SOURCE.default_checkpoint, load_calibration(None))
    return {each.name: replace(each, examples=each.examples[:12]) for each in model.components}


def other_inputs(component: ComponentSource) -> dict[str, np.ndarray]:
    """Random inputs of other sizes; the smallest that are allowed, where they may be small."""
    random = np.random.default_rng(7)
    sizes = {"tokens": 3, "height": 48, "width": 32, "context_height": 6, "context_width": 4, "regions": 1}
    inputs = {}
    for spec in component.inputs:
        shape = [sizes[size] if isinstance(size, str) else size for size in spec.shape]
        whole = spec.dtype != "float32"
        values = random.integers(1, 200, shape) if whole else random.uniform(0, 0.3, shape)
        inputs[spec.name] = values.astype(spec.dtype)
    if "window" in inputs:
        inputs["window"] = np.array([3000, 0, 4000, 32], np.float32)
    return inputs


@pytest.mark.parametrize("name", [*LEARNED, *OTHERS])
def test_a_graph_computes_what_torch_computes_at_any_size(components, tmp_path, name):
    component = components[name]
    TARGET.export(component, tmp_path / "it.mlpackage")
    runners = TARGET.runners(component, tmp_path / "it.mlpackage")
    measure(component, reference_outputs(component), runners, "fp32").require()
    inputs = other_inputs(component)
    found = runners[0](inputs)
    for output, expected in run_module(component.module(), component, inputs).items():
        compare = peak_signal_to_noise_db if expected.dtype == np.uint8 else signal_to_noise_db
        assert compare(expected, found[output]) > 50.0, output


@pytest.mark.parametrize(
    ("name", "recipe", "precision"),
    [
        ("vision", "int8", "int8-fp16"),
        ("restore", "int8", "int8-fp16"),
        ("text", "int4", "int4-int8-fp16"),
        ("text", "int4-channel", "int4-int8-fp16"),
        ("restore", "fp16", "fp16"),
        ("auto", "int8", "fp32"),
    ],
)
def test_recipes_keep_their_limits(components, tmp_path, name, recipe, precision):
    component = components[name]
    converted = convert_component(component, TARGET, load_recipe(recipe).without_rows(), tmp_path, lambda line: None)
    assert converted.parity.precision == precision, converted.note
    float_bytes = 4 * sum(value.numel() for value in component.module().parameters())
    written = sum(path.stat().st_size for path in Path(tmp_path).rglob("weight.bin"))
    if precision != "fp32":
        assert written < float_bytes * (0.52 if precision == "fp16" else 0.35)
