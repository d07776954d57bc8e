"""Every family's tiny checkpoint in 8 and 4 bits, by the process of the command itself: limits and what is recorded."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest

from converters import capture, job
from converters.fidelity import LEAST_OUTPUT_SNR_DB
from edge_runtime import plugins

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # a scheduler's, with NumPy 2
]
FAMILIES = plugins.names("converters.pipelines")


@pytest.fixture(scope="module", params=FAMILIES)
def task(request, tmp_path_factory) -> job.Task:
    """A conversion of the family's tiny checkpoint; `folder` and `recipe` are the test's own."""
    name = request.param
    tiny, folder = import_module(f"tiny.{name}"), tmp_path_factory.mktemp(name)
    tiny.build(folder)
    loras = tiny.write_loras(tmp_path_factory.mktemp("loras")) if name == "umo" else ()
    traced, captures = capture.capture, {}

    def captured_once(component, **others):  # tracing is the longest part, and the same for both recipes
        if component.name not in captures:
            captures[component.name] = traced(component, **others)
        return captures[component.name].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "capture", captured_once)
        yield job.Task(checkpoint=str(folder), recipe="int8", folder="", loras=tuple(map(str, loras)))


@pytest.mark.parametrize("recipe", ["int8", "int4"])
def test_every_component_keeps_its_limits(task, recipe, tmp_path):
    described = job.describe(replace(task, recipe=recipe))
    for planned in described["components"]:
        one = replace(task, recipe=recipe, folder=str(tmp_path), component=planned["name"])
        entry = job.convert(one, lambda line: None)
        component, quality = entry["component"], entry["quality"]
        assert component["precision"] in (recipe, "int8"), planned["name"]
        least = LEAST_OUTPUT_SNR_DB[component["precision"]]
        outputs = [output["name"] for output in component["outputs"]]
        assert all(quality[f"{name}.snr_db"] >= least for name in outputs), (planned["name"], quality)
        assert quality["method"] == "onnxruntime"
        lowered = sum(layer["values"] for layer in entry["layers"] if layer["precision"] != "fp32")
        assert lowered >= 0.5 * sum(layer["values"] for layer in entry["layers"]), planned["name"]
        assert names(tmp_path / component["file"]) == {planned["name"] + ".data"}


def names(graph: Path) -> set[str]:
    """Return the files that a graph names for its tensors."""
    model = onnx.load(graph, load_external_data=False)
    assert all(np.prod(tensor.dims) <= 1024 or tensor.external_data for tensor in model.graph.initializer)
    return {
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
