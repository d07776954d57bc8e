"""Converts one component: export, quantise if it may be, measure both, keep what holds its limits."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from converters.latency import is_slower, median_milliseconds
from converters.layers import FLOAT
from converters.parity import Parity, measure, reference_outputs
from converters.recipe import Recipe
from converters.source import ComponentSource
from converters.target import Runner, Target
from edge_runtime.manifest import Component, DataFile

Progress = Callable[[str], None]
"""Called with one line at the start of every step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A written component. `note` says why it stayed float; times are medians on this machine, `float_milliseconds`
    of the same component in float, NaN for a format that doesn't run here. `layers` is Quantised's. With an
    `entry` (see Target) `file` is a folder.
    """

    source: ComponentSource
    file: Path
    parity: Parity
    milliseconds: float
    float_milliseconds: float
    note: str = ""
    layers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    entry: str = ""

    def contents(self) -> dict[str, Path]:
        """Return what `write_artifact` takes: the component's name or a data file's place -> file on this disk."""
        return {
            self.source.name: self.file / self.entry,
            **{self._place(path): path for path in self._data()},
        }

    def quality(self) -> dict[str, object]:
        """Return the manifest's figures: of parity, and what its smaller layers take."""
        sizes = {
            f"{precision}_{what}": value
            for precision, pair in sorted(self.layers.items())
            for what, value in zip(("parameters", "bytes"), pair, strict=True)
        }
        return {**self.parity.to_json(), **sizes}

    def describe(self) -> Component:
        """Return the manifest's entry."""
        return Component(
            name=self.source.name,
            file=self._place(self.file / self.entry),
            precision=self.parity.precision,
            inputs=self.source.inputs,
            outputs=self.source.outputs,
            note=self.note,
            data=tuple(DataFile(file=self._place(path)) for path in self._data()),
        )

    def _data(self) -> list[Path]:
        """Return every other file of a component that is a folder."""
        files = sorted(path for path in self.file.rglob("*") if path.is_file()) if self.entry else []
        return [path for path in files if path != self.file / self.entry]

    def _place(self, path: Path) -> str:
        return path.relative_to(self.file.parent).as_posix()


def convert_component(
    source: ComponentSource, target: Target, recipe: Recipe, folder: Path, progress: Progress
) -> Converted:
    """Write one component into the folder; raises ConversionError when even the float file is off its limits.

    A quantised file that is off its limits, or slower where that means something, gives way to the float file, and the
    note says so.
    """
    progress("exporting")
    file = folder / f"{source.name}{target.suffix}"
    target.export(source, file)
    progress("comparing with torch")
    references = reference_outputs(source)
    runners = target.runners(source, file)
    parity = measure(source, references, runners, FLOAT)
    parity.require()
    milliseconds = _milliseconds(target, runners[0], source)
    exported = Converted(
        source=source,
        file=file,
        parity=parity,
        milliseconds=milliseconds,
        float_milliseconds=milliseconds,
        entry=target.entry,
    )
    if not recipe.layers:
        return exported
    if source.float_note:
        return replace(exported, note=source.float_note)
    progress(f"quantising with recipe {recipe.name}")
    quantised = folder / f"{source.name}.{recipe.name}{target.suffix}"
    kept = kept_in_float(source, recipe)
    written = target.quantise(replace(source, exclude=source.exclude + kept), recipe, file, quantised)
    if (precision := written.precision) == FLOAT:
        return replace(exported, note=f"no layer that recipe {recipe.name} quantises")
    progress("comparing with torch")
    float_runner, runners = runners[0], target.runners(source, quantised)
    parity = measure(source, references, runners, precision)
    if (failure := parity.failure) is not None:
        return replace(exported, note=f"{precision} measured {failure}, allowed {failure.allowed}: kept in float")
    if target.timed and is_slower(runners[0], float_runner, source.examples[0]):
        return replace(exported, note=f"{precision} ran slower than float where it was converted: kept in float")
    _replace(quantised, file)
    faster = f"layers {', '.join(kept)} stay in float, which is faster than {precision}" if kept else ""
    note = "; ".join(filter(None, (faster, written.note)))
    milliseconds = _milliseconds(target, runners[0], source)
    return replace(exported, parity=parity, milliseconds=milliseconds, note=note, layers=written.layers)


def _milliseconds(target: Target, runner: Runner, source: ComponentSource) -> float:
    return math.nan if target.interpreted else median_milliseconds(runner, source.examples[0])


def _replace(written: Path, place: Path) -> None:
    """Move a file or folder to where another one is."""
    if place.is_dir():
        shutil.rmtree(place)
    written.replace(place)


def kept_in_float(source: ComponentSource, recipe: Recipe) -> tuple[str, ...]:
    """Return the patterns of layers that this recipe's bits would only make slower."""
    return source.faster_in_float if recipe.fewest_bits == 8 else ()
