"""`nanoedge compare`: arguments, progress on stderr, tables on stdout. No comparison here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from converters.columns import aligned
from converters.progress import Countdown
from edge_runtime.errors import OptionError

if TYPE_CHECKING:
    from converters.compare import Pair, Side

PHOTOS: Final = 20
FLOAT_BYTES: Final = 4


@click.command()
@click.argument("artifacts", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photographs. [default: some that come with scikit-image]",
)
@click.option("--count", default=PHOTOS, show_default=True, type=click.IntRange(1, 1000), help="How many photographs.")
@click.option(
    "--instructions", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON list. [default: ten]"
)
@click.option(
    "--served",
    is_flag=True,
    help="Run every artifact by the engine that serves it: TensorRT on a GPU. [default: Core ML and TensorRT artifacts "
    "by what checks them on any machine]",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def compare(
    artifacts: tuple[Path, ...],
    photos: Path | None,
    count: int,
    instructions: Path | None,
    served: bool,
    as_json: bool,
) -> None:
    """Tell how alike the pictures are that ARTIFACTS make of the same photographs and instructions.

    nanoedge compare nano-onnx nano-tflite nano-coreml
    """
    if len(artifacts) < 2:
        raise OptionError("a comparison needs two artifacts", got=len(artifacts), allowed="2 or more folders")
    from converters import compare as comparison

    suite = comparison.load_suite(photos, instructions, count)
    sides, pairs = comparison.compare(artifacts, suite, partial(Countdown(), "edit"), served)
    if as_json:
        click.echo(json.dumps({"artifacts": [asdict(s) for s in sides], "pairs": [asdict(p) for p in pairs]}, indent=2))
        return
    click.echo(f"{len(suite.photos)} photographs, {len(suite.instructions)} instructions\n")
    click.echo(f"{aligned(_pair_rows(pairs))}\n")
    click.echo(f"{aligned(_size_rows(sides))}\n")
    click.echo(aligned(_small_rows(sides)))


def _pair_rows(pairs: Sequence[Pair]) -> list[list[str]]:
    rows = [["artifact", "artifact", "mean dB", "least dB", "least alike"]]
    return rows + [[p.first, p.second, f"{p.mean_db:.1f}", f"{p.least_db:.1f}", p.worst] for p in pairs]


def _size_rows(sides: Sequence[Side]) -> list[list[str]]:
    names = list(dict.fromkeys(name for side in sides for name in side.parts))
    rows = [["bytes", *(side.name for side in sides)]]
    rows.append(["format", *(f"{side.target} {side.recipe}" for side in sides)])
    rows.append(["run by", *(side.engine for side in sides)])
    rows += [[name, *(f"{side.parts.get(name, 0):,}" for side in sides)] for name in names]
    return [*rows, ["all", *(f"{side.total_bytes:,}" for side in sides)]]


def _small_rows(sides: Sequence[Side]) -> list[list[str]]:
    """The layers that became smaller, beside what they would be as 32-bit floats."""
    rows = [["artifact", "layers in", "parameters", "bytes", "of float"]]
    for side in sides:
        for precision, (parameters, size) in sorted(side.small.items()):
            share = size / (FLOAT_BYTES * parameters)
            rows.append([side.name, precision, f"{parameters:,}", f"{size:,}", f"{share:.3f}"])
    return rows
