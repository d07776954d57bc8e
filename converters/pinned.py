"""Components of large models as graphs of one size, for phones: TFLite and Core ML.

A writer of these formats has a component's weights whole in memory, so each component has a process of its own
(converters/job.py). Parts that have no such form, the text encoders, stay ONNX, and the artifact says so.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from torch import nn

from converters.component import Converted, convert_component
from converters.fidelity import LEAST_OUTPUT_SNR_DB
from converters.job import Report, Task
from converters.mapped_weights import MappedWeights
from converters.recipe import recipe_for
from converters.source import ComponentSource, FixedForm, Model
from converters.streamed_torch import filled
from converters.streaming import SMALLEST
from converters.target import Target
from edge_runtime import plugins
from edge_runtime.diffusion.components import ABSENT
from edge_runtime.errors import ConversionError, OptionError
from edge_runtime.heap import trim_heap
from edge_runtime.manifest import Component
from edge_runtime.tensors import check_inputs

RESULT_SIZE: Final = "result_size"
"""Member of the manifest's settings: width and height of the results in pixels."""

_CHUNK_BYTES: Final = 1 << 20


def pinned_model(model: Model, task: Task) -> Model:
    """Return the model with the components that the format can hold, and what it lacks among its settings.

    Raises ConversionError for a family that has no denoiser of fixed sizes and for a recipe that the format can't hold,
    OptionError for a size that results can't have, and MissingExtraError.
    """
    target: Target = plugins.load("converters.targets", task.target)
    target.check(recipe_for(task.recipe, task.target))
    held = tuple(component for component in model.components if component.pinned is not None)
    if not any(component.name == "denoiser" for component in held):
        raise ConversionError(
            f"models of the family {model.family} are not written in this format",
            got=task.target, allowed="onnx", hint="convert it with --to onnx",
        )  # fmt: skip
    _check_size(task.size, model.settings["size"])
    names = {component.name for component in held}
    absent = [component.name for component in model.components if component.name not in names]
    settings = {**model.settings, ABSENT: [*absent, *model.files], RESULT_SIZE: list(task.size)}
    return replace(model, components=held, settings=settings, files={})


def convert_pinned(component: ComponentSource, task: Task, report: Report) -> dict[str, Any]:
    """Write the component's files into the task's folder; return what `converters.job.convert` does.

    Raises ConversionError, naming the layer where an operation has no form in the format.
    """
    assert component.pinned is not None
    target = plugins.load("converters.targets", task.target)
    recipe = recipe_for(task.recipe, task.target)
    making = Path(task.folder) / f"{component.name}.making"
    making.mkdir()
    source = component.pinned(*task.size)
    assert source.weights is not None
    source = in_memory(replace(source, weights=MappedWeights(source.weights, making / "weights")))

    def say(step: str) -> None:
        trim_heap()  # what a writer has freed, gigabytes, is in the next one's way
        report({"step": step})

    made = convert_component(source, target, recipe, making, say)
    place = Path(task.folder) / made.file.name
    made.file.rename(place)
    shutil.rmtree(making)
    return {
        "component": _measured(replace(made, file=place)).to_json(),
        "quality": made.quality(),
        "sizes": dict(check_inputs(source.inputs, source.examples[0])),
        "memory": {},
        "settings": dict(target.settings((source,))),
        "layers": [],
    }


def _check_size(size: tuple[int, int], rule: Mapping[str, Any]) -> None:
    multiple, largest = rule["multiple"], rule["largest"]
    if any(side % multiple or not 4 * multiple <= side <= largest for side in size):
        raise OptionError(
            "results can't have this size", got=f"{size[0]} x {size[1]} pixels",
            allowed=f"sides of {4 * multiple} to {largest} pixels, multiples of {multiple}", param="size",
        )  # fmt: skip


def in_memory(source: ComponentSource) -> ComponentSource:
    """Return the component with modules that have their weights, and small layers and limits as in ONNX."""
    assert source.weights is not None
    small = (name for name in source.weights.names if _values(source, name) < SMALLEST)
    form = source.fixed

    def module() -> nn.Module:
        return filled(source)

    def fixed_module() -> nn.Module:
        assert form is not None and form.module is not None
        return filled(replace(source, module=form.module))

    fixed = None if form is None else FixedForm(sizes=form.sizes, module=form.module and fixed_module, told=form.told)
    return replace(
        source, module=module, fixed=fixed, exclude=(*source.exclude, *small), least_snr_db=LEAST_OUTPUT_SNR_DB
    )


def _values(source: ComponentSource, name: str) -> int:
    assert source.weights is not None
    return math.prod(source.weights.shape(name))


def _measured(made: Converted) -> Component:
    """Return the manifest's entry with sizes and digests."""
    described = made.describe()
    folder = made.file.parent
    data = tuple(replace(part, **_measure(folder / part.file)) for part in described.data)
    return replace(described, data=data, **_measure(folder / described.file))


def _measure(file: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            digest.update(chunk)
    return {"sha256": digest.hexdigest(), "bytes": file.stat().st_size}
