"""What a file format must offer: the seam between the driver and `targets/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from converters.recipe import Recipe
from converters.source import Arrays, ComponentSource
from edge_runtime.tensors import Tensor

Runner = Callable[[Arrays], dict[str, Tensor]]
"""Runs a written component once: input name -> array in, output name -> array out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """What became of a component: its precision, `fp32` if nothing fitted, and what differs from the plan, in words.

    `layers` has the layers of each precision, such as `int4`: how many parameters, and the bytes of codes and scales.
    """

    precision: str
    note: str = ""
    layers: Mapping[str, tuple[int, int]] = field(default_factory=dict)


class Target(Protocol):
    """One file format; a file in `targets/` exposes one as `TARGET`."""

    @property
    def suffix(self) -> str:
        """The components' file suffix, with its dot."""

    @property
    def entry(self) -> str:
        """Which file a component is opened by that is a folder in this format; empty when components are files."""

    @property
    def interpreted(self) -> bool:
        """Whether `runners` are there to check what was written alone, so that their times say nothing at all."""

    @property
    def timed(self) -> bool:
        """Whether what is slow here is slow where it is served; if not, no component stays in float for its time."""

    @property
    def tools(self) -> tuple[str, ...]:
        """The distributions that write the format: their versions go into the manifest."""

    def check(self, recipe: Recipe) -> None:
        """Raise ConversionError for a recipe that the format has no form for, before anything is written."""

    def export(self, component: ComponentSource, destination: Path) -> None:
        """Write the component in 32-bit float; raises ConversionError."""

    def quantise(self, component: ComponentSource, recipe: Recipe, exported: Path, destination: Path) -> Quantised:
        """Write what `export` wrote as the recipe wants it; raises ConversionError where the format can't hold it."""

    def runners(self, component: ComponentSource, file: Path) -> tuple[Runner, ...]:
        """Open a written component in every way whose results can differ; the first is how it is served."""

    def settings(self, components: tuple[ComponentSource, ...]) -> Mapping[str, Any]:
        """Return members of the manifest's settings that readers of this format need; most often none."""
