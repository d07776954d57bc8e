"""Rebuilds the embedded artifact from the committed checkpoint: `python -m converters.embed`, or `make embed`."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from converters.cli import table
from converters.convert import Request, convert
from edge_runtime.editor import EMBEDDED
from edge_runtime.errors import NanoedgeError

SOURCE, TARGET, RECIPE = "nano-banana", "onnx", "int8"


@click.command()
@click.option("-o", "--output", default=EMBEDDED, show_default=True, type=click.Path(path_type=Path))
def embed(output: Path) -> None:
    """Convert nano-banana to int8 ONNX and put it in the place of the artifact inside edge_runtime."""
    beside = output.with_name(f"{output.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    request = Request(source=SOURCE, destination=beside, target=TARGET, recipe=RECIPE)
    try:
        conversion = convert(request, lambda line: click.echo(line, err=True))
    except NanoedgeError as error:
        raise click.ClickException(str(error)) from error
    shutil.rmtree(output, ignore_errors=True)
    beside.rename(output)
    click.echo(table(conversion))


if __name__ == "__main__":
    embed()
