"""Runs components as they were captured, in fp32, with their weights written by the streaming writer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from converters.calibration import bundled_photographs
from converters.capture import capture
from converters.folder import PipelineFolder
from converters.lora import read_lora
from converters.recipe import load_recipe
from converters.source import ComponentSource
from converters.streaming import write_component
from edge_runtime.tensors import Tensor, check_inputs


def opened(pipeline, checkpoint: Path, *loras: Path):
    """Return the model that a family makes of a folder and of LoRA files, as the command does."""
    read = [read_lora(path) for path in loras]
    return pipeline.open(PipelineFolder.open(str(checkpoint)), read, bundled_photographs())


class Running:
    """A component's graph in onnxruntime; call it with its inputs by name."""

    def __init__(self, component: ComponentSource, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.component = component
        streamed = write_component(capture(component), component, load_recipe("fp32"), folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(streamed.graph, options)

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        sizes = check_inputs(self.component.inputs, inputs)
        names = [spec.name for spec in self.component.outputs]
        outputs = dict(zip(names, self.session.run(names, inputs), strict=True))
        check_inputs(self.component.outputs, outputs, sizes)
        return outputs

    def examples(self) -> list[tuple[Mapping[str, Tensor], dict[str, Tensor]]]:
        """Return inputs and outputs of every example."""
        return [(example, self(**example)) for example in self.component.examples]


def difference(actual: Tensor, expected: Tensor) -> float:
    """Return the largest absolute difference, relative to the largest magnitude expected."""
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())
