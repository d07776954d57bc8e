"""The driver: checkpoint in, artifact out, one component at a time, nothing written unless everything is measured."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from converters.calibration import load_calibration
from converters.component import Converted, Progress, convert_component
from converters.recipe import load_recipe
from converters.source import Model, Source
from converters.target import Target
from edge_runtime import __version__, plugins
from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.errors import OptionError
from edge_runtime.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to convert and how, by name; `checkpoint` None is the source's own, `calibration` None bundled photos."""

    source: str
    destination: Path
    target: str = "onnx"
    recipe: str = "int8"
    checkpoint: Path | None = None
    calibration: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """The artifact on disk, and how its components came about, in the same order."""

    artifact: Artifact
    components: tuple[Converted, ...]


def convert(request: Request, progress: Progress = lambda line: None) -> Conversion:
    """Convert a checkpoint and write the artifact; raises OptionError, ConversionError and ImageError.

    The destination appears at once and complete, or not at all.
    """
    source: Source = plugins.load("converters.sources", request.source)
    target: Target = plugins.load("converters.targets", request.target)
    recipe = load_recipe(request.recipe).without_rows()  # models that fit here multiply few rows: it would cost time
    target.check(recipe)
    checkpoint = _check(request, source)
    progress("reading the checkpoint and the calibration photographs")
    data = load_calibration(request.calibration)
    model = source.open(checkpoint, data)
    components = []
    with tempfile.TemporaryDirectory(prefix="nanoedge-") as folder:
        for place, component in enumerate(model.components, start=1):
            title = f"[{place}/{len(model.components)}] {component.name}"

            def step(line: str, title: str = title) -> None:
                progress(f"{title}: {line}")

            components.append(convert_component(component, target, recipe, Path(folder), step))
        manifest = _manifest(model, request, components, _Made(target, data.provenance))
        files = {name: path for converted in components for name, path in converted.contents().items()}
        return Conversion(
            artifact=write_artifact(request.destination, manifest, files), components=tuple(components)
        )


def _check(request: Request, source: Source) -> Path:
    """Refuse what would fail after minutes of work; return the checkpoint's path."""
    if request.destination.exists():
        raise OptionError(
            "the output exists already", got=request.destination, hint="choose another folder, or delete it first"
        )
    checkpoint = request.checkpoint or source.default_checkpoint
    if checkpoint is None or not checkpoint.exists():
        raise OptionError("there is no checkpoint at this path", got=checkpoint, hint="give one with --checkpoint")
    return checkpoint


@dataclass(frozen=True, slots=True)
class _Made:
    target: Target
    calibration: str


def _manifest(model: Model, request: Request, components: list[Converted], made: _Made) -> Manifest:
    tools = {"nanoedge": __version__, **{name: version(name) for name in made.target.tools}}
    provenance: dict[str, Any] = {**model.provenance, "tools": tools}
    if any(converted.parity.precision != "fp32" for converted in components):
        provenance["calibration"] = made.calibration
    return Manifest(
        family=model.family,
        name=model.name,
        target=request.target,
        recipe=request.recipe,
        components=tuple(converted.describe() for converted in components),
        settings={**model.settings, **made.target.settings(model.components)},
        provenance=provenance,
        quality={converted.source.name: converted.quality() for converted in components},
    )
