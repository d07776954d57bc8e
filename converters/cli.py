"""`nanoedge convert`: arguments, progress on stderr, a table of what came out on stdout. No conversion here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from converters.recipe import recipe_names
from edge_runtime import plugins

if TYPE_CHECKING:  # these import torch, and `--help` must not
    from converters.component import Converted
    from converters.convert import Conversion


@click.command()
@click.argument("source")
@click.option("--to", "target", default="onnx", show_default=True, help="File format: onnx.")
@click.option("--recipe", default="int8", show_default=True, help=f"How small: {', '.join(recipe_names())}.")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the artifact; must not exist."
)
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photographs like those to be edited. [default: some that come with scikit-image]",
)
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, path_type=Path),
    help="Float weights as safetensors. [default: the source's own]",
)
def convert(
    source: str, target: str, recipe: str, output: Path, calibration: Path | None, checkpoint: Path | None
) -> None:
    """Convert the model SOURCE: nanoedge convert nano-banana --to onnx --recipe int8 -o my-artifact"""
    # first, because it turns a missing torch into the advice which extra to install
    plugins.load("converters.targets", target)
    from converters import convert as driver

    request = driver.Request(
        source=source,
        destination=output,
        target=target,
        recipe=recipe,
        checkpoint=checkpoint,
        calibration=calibration,
    )
    conversion = driver.convert(request, lambda line: click.echo(line, err=True))
    click.echo(table(conversion))


def table(conversion: Conversion) -> str:
    """Return one line a component (precision, size, time beside float's, figures), notes and the version below."""
    sizes = {component.name: component.bytes for component in conversion.artifact.manifest.components}
    rows = [("component", "precision", "bytes", "ms (float)", "parity with the checkpoint")]
    for converted in conversion.components:
        name = converted.source.name
        times = f"{converted.milliseconds:.1f} ({converted.float_milliseconds:.1f})"
        rows.append((name, converted.parity.precision, f"{sizes[name]:,}", times, _figures(converted)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}"
        for row in rows
    ]
    lines += [f"{converted.source.name}: {converted.note}" for converted in conversion.components if converted.note]
    total = f"{sum(sizes.values()):,} bytes, version {conversion.artifact.version}"
    return "\n".join([*lines, f"{conversion.artifact.folder}: {total}"])


def _figures(converted: Converted) -> str:
    """Return the agreements and the lowest of the figures in decibels."""
    figures = converted.parity.figures
    decibels = [figure for figure in figures if figure.name.endswith("_db") and figure.limit is not None]
    agreements = [figure for figure in figures if not figure.output]
    return ", ".join(map(str, [*agreements, *sorted(decibels, key=lambda figure: figure.value)[:1]]))
