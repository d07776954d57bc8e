"""What a file format must offer: the seam between the driver and `targets/`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from converters.recipe import Recipe
from converters.source import Arrays, ComponentSource
from edge_runtime.tensors import Tensor

Runner = Callable[[Arrays], dict[str, Tensor]]
"""Runs a written component once: input name -> array in, output name -> array out."""


class Target(Protocol):
    """One file format; a file in `targets/` exposes one as `TARGET`."""

    @property
    def suffix(self) -> str:
        """The components' file suffix, with its dot."""

    @property
    def entry(self) -> str:
        """Which file a component is opened by that is a folder in this format; empty when components are files."""

    @property
    def timed(self) -> bool:
        """Whether what runs here is what will run elsewhere, so that its times say something."""

    @property
    def tools(self) -> tuple[str, ...]:
        """The distributions that write the files, for the manifest."""

    def departures(self, component: ComponentSource, recipe: Recipe) -> str:
        """Say in words what of a recipe's plan for a component this format holds in another way; empty if nothing."""

    def export(self, component: ComponentSource, destination: Path) -> None:
        """Write the component in 32-bit float; raises ConversionError."""

    def quantise(self, component: ComponentSource, recipe: Recipe, exported: Path, destination: Path) -> str:
        """Write what `export` wrote as the recipe wants it and return the precision, `fp32` if nothing fitted."""

    def runners(self, component: ComponentSource, file: Path) -> tuple[Runner, ...]:
        """Open a written component in every way whose results can differ; the first is how it is served."""
