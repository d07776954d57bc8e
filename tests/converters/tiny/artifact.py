"""Artifacts of tiny checkpoints, made in this process by what the command runs in one per component."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters import job, pipeline
from converters.capture import capture
from converters.recipe import load_recipe
from converters.streaming import write_component


def converted(
    checkpoint: Path, folder: Path, recipes: Sequence[str] = ("fp32",), loras: Sequence[Path] = (), **settings: Any
) -> dict[str, Path]:
    """Write an artifact for every recipe and return their folders; `settings` take the place of the converter's.

    A component is captured once and written with every recipe.
    """
    tasks = {
        recipe: job.Task(
            checkpoint=str(checkpoint), recipe=recipe, folder=str(folder / recipe), loras=tuple(map(str, loras))
        )
        for recipe in recipes
    }
    first = tasks[recipes[0]]
    described = {**job.describe(first)}
    described["settings"] = merged(described["settings"], settings)
    _, model, _ = job._open(first)
    entries: dict[str, dict[str, Any]] = {recipe: {} for recipe in recipes}
    for component in model.components:
        captured = capture(component)
        for recipe, task in tasks.items():
            place = Path(task.folder)
            place.mkdir(parents=True, exist_ok=True)
            loaded = load_recipe(recipe)
            ranges = job._ranges(component, loaded, lambda step: None)
            written = write_component(captured.copy(), component, loaded, place, frozenset(), ranges)
            description = job._described(component, written.graph, written.data, written.data_sha256, written.layers)
            entries[recipe][component.name] = {
                "component": description.to_json(),
                "quality": {},
                "sizes": dict(job.check_inputs(component.inputs, component.examples[0])),
                "memory": job.memory(model, component, captured, written, loaded),
            }
    for recipe, task in tasks.items():
        request = pipeline.PipelineRequest(checkpoint=str(checkpoint), destination=Path(task.folder), recipe=recipe)
        place = Path(task.folder)
        files = [pipeline._write_file(place, name, content) for name, content in described["files"].items()]
        manifest = pipeline._manifest(request, described, entries[recipe], files)
        (place / "manifest.json").write_bytes(manifest.encode())
    return {recipe: Path(task.folder) for recipe, task in tasks.items()}


def merged(settings: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Return settings with members, also those inside members, replaced."""
    result = dict(settings)
    for name, value in others.items():
        inner = result.get(name)
        result[name] = merged(inner, value) if isinstance(value, dict) and isinstance(inner, dict) else value
    return result
