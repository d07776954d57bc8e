"""`nanoedge convert`: arguments, progress on stderr, a table of what came out on stdout. No conversion here."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converters import pipeline
from converters.job import BLOCK_BYTES
from converters.pipeline import PipelineRequest
from converters.progress import ProgressBar
from converters.recipe import recipe_names
from edge_runtime import plugins
from edge_runtime.errors import OptionError
from edge_runtime.progress import duration
from edge_runtime.request import Size

if TYPE_CHECKING:  # these import torch, and `--help` must not
    from converters.component import Converted
    from converters.convert import Conversion


@click.command()
@click.argument("source")
@click.option(
    "--to", "target", default="onnx", show_default=True,
    help=f"File format: {', '.join(plugins.names('converters.targets'))}.",
)
@click.option("--recipe", default="int8", show_default=True, help=f"How small: {', '.join(recipe_names())}.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for the artifact, or NAME.onnx; must not exist."
)
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photographs like those to be edited. [default: some that come with scikit-image]",
)
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, path_type=Path),
    help="nano-banana: float weights as safetensors. [default: the source's own]",
)
@click.option("--lora", "loras", multiple=True, metavar="FILE[=STRENGTH]", help="Low-rank weights to fuse; repeatable.")
@click.option("--plan", "planned", is_flag=True, help="Show parameters, bytes, memory and time; write nothing.")
@click.option(
    "--memory",
    "memory_gb",
    type=click.FloatRange(0.5, 4096),
    default=4.0,
    show_default=True,
    help="GB that comparing with the checkpoint may take; larger components are compared layer by layer.",
)
@click.option("--size", help="TFLite and Core ML, large models: size of the results in pixels, 512 or 512x768.")
@click.option("--unmeasured", is_flag=True, help="Skip the comparison with the checkpoint.")
@click.option(
    "--block-mb",
    type=click.IntRange(1, 65536),
    default=BLOCK_BYTES >> 20,
    show_default=True,
    help="TensorRT, folders: MB of weights in one engine; building it takes about four times as much.",
)
def convert(
    source: str,
    target: str,
    recipe: str,
    output: Path | None,
    calibration: Path | None,
    checkpoint: Path | None,
    loras: tuple[str, ...],
    planned: bool,
    memory_gb: float,
    size: str | None,
    unmeasured: bool,
    block_mb: int,
) -> None:
    """Convert a model.

    SOURCE is nano-banana, a folder in diffusers layout, hf:owner/name[@revision], or any float graph, whose weights
    alone are made smaller then:

    nanoedge convert nano-banana --recipe int8 -o my-artifact

    nanoedge convert ./FLUX.1-Kontext-dev --recipe int4 -o kontext-int4

    nanoedge convert model.onnx --recipe int4 -o model-int4.onnx

    A conversion that was stopped goes on after its last finished component when the same command is run again.
    """
    if output is None and not planned:
        raise OptionError("there is no place for the artifact", hint="give a folder with --output, or --plan")
    if source.startswith("hf:") or Path(source).is_dir():
        _convert_pipeline(
            PipelineRequest(
                checkpoint=source,
                destination=output or Path(),
                recipe=recipe,
                loras=loras,
                calibration=calibration,
                memory_bytes=int(memory_gb * 1e9),
                measured=not unmeasured,
                target=target,
                block_bytes=block_mb << 20,
                size=_size(size),
            ),
            planned,
        )
        return
    if size is not None:
        raise OptionError("--size is for folders in diffusers layout", got=source, param="size")
    if source.endswith(".onnx") and output is not None and not (planned or loras or checkpoint or calibration):
        _round_graph(Path(source), output, recipe)
        return
    if planned or loras or output is None:
        raise OptionError(
            "--plan and --lora are for folders in diffusers layout", got=source, hint="is the folder's name right?"
        )
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


def _size(text: str | None) -> tuple[int, int] | None:
    found = None if text is None else Size.parse(text)
    return None if found is None else (found.width, found.height)


def _convert_pipeline(request: PipelineRequest, planned: bool) -> None:
    if request.target not in pipeline.TARGETS:
        raise OptionError(
            "this model is not written in this format", got=request.target, allowed=", ".join(pipeline.TARGETS),
            param="target",
        )
    from converters.pipeline_tables import conversion_table, plan_table

    if planned:
        click.echo(plan_table(pipeline.plan(request, ProgressBar())))
        return
    started = time.monotonic()
    click.echo(conversion_table(pipeline.convert_pipeline(request, ProgressBar())))
    click.echo(f"took {duration(time.monotonic() - started)}", err=True)


def _round_graph(source: Path, output: Path, recipe: str) -> None:
    from converters.graph_file import round_graph
    from converters.pipeline_tables import layers_table
    from converters.recipe import load_recipe

    bar = ProgressBar()
    written = round_graph(
        source, output, load_recipe(recipe), lambda done, total: bar(source.name, {"done": done, "total": total})
    )
    click.echo(layers_table(written.layers))
    click.echo(f"{output}: {output.stat().st_size + written.data.stat().st_size:,} bytes with {written.data.name}")


def table(conversion: Conversion) -> str:
    """Return one line a component (precision, size, time beside float's, figures), notes and the version below."""
    sizes = {component.name: component.total_bytes for component in conversion.artifact.manifest.components}
    rows = [("component", "precision", "bytes", "ms (float)", "parity with the checkpoint")]
    for converted in conversion.components:
        name = converted.source.name
        times = f"{converted.milliseconds:.1f} ({converted.float_milliseconds:.1f})"
        times = "-" if math.isnan(converted.milliseconds) else times
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
