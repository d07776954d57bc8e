"""`nanoedge bench`: arguments, progress on stderr, tables and where the report lies on stdout. No measuring here."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Final

import click

from converters.progress import Countdown
from edge_runtime import plugins
from edge_runtime.errors import OptionError
from edge_runtime.route import DEFAULT_MODEL

COMMANDS: Final = {"diff": "converters.bench.diff_cli:diff", "vote": "converters.bench.vote:vote"}
"""Verbs below `bench` and where they are; one whose module isn't there is none."""

LIBRARIES: Final = ("skimage", "scipy", "matplotlib")
STOPPED: Final = 130


class Verbs(click.Group):
    """Imports only the verb that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the verbs."""
        return sorted(name for name, place in COMMANDS.items() if importlib.util.find_spec(place.partition(":")[0]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=Verbs, invoke_without_command=True)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[LABEL=]MODEL",
    help=f"A model to measure: {DEFAULT_MODEL}, or the folder of an artifact; repeatable. Ratios are to the first.",
)
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photographs. [default: six that come with scikit-image]",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the report; new, or empty.")
@click.option(
    "--parent",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Float artifact that the models came from. [default: the fp32 one of the same checkpoint among --model]",
)
@click.option(
    "--masks",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of masks, named as the photographs, white on the subject.",
)
@click.option("--count", default=100, show_default=True, type=click.IntRange(1, 10_000), help="Photographs at most.")
@click.option(
    "--edits", type=click.IntRange(1, 100_000), help="How many edits, from all scenarios in turns. [default: the suite]"
)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(0, 1000), help="How often each is timed.")
@click.option("--cold-starts", default=5, show_default=True, type=click.IntRange(0, 100), help="New processes a model.")
@click.option(
    "--side",
    default=768,
    show_default=True,
    type=click.IntRange(64, 8192),
    help="Long side of the photographs in pixels; smaller ones stay as they are.",
)
@click.option("--seed", default=0, show_default=True, help="Of the orders that are drawn.")
@click.option("--url", help="A running node, measured under load: https://edge.example.")
@click.option(
    "--key", envvar="NANOEDGE_BENCH_KEY", help="API key of the node. [default: the variable NANOEDGE_BENCH_KEY]"
)
@click.option("--rate", "rates", default="1,2,4", show_default=True, help="Edits a second that arrive, one or more.")
@click.option(
    "--seconds", default=30.0, show_default=True, type=click.FloatRange(1, 86_400), help="How long at each rate."
)
@click.option("--node-model", default=DEFAULT_MODEL, show_default=True, help="The model's name at the node.")
@click.option("--suite", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON. [default: edit100]")
@click.option("--resume", is_flag=True, help="Go on with an unfinished report.")
@click.pass_context
def bench(
    ctx: click.Context,
    models: tuple[str, ...],
    photos: Path | None,
    output: Path | None,
    parent: Path | None,
    masks: Path | None,
    count: int,
    edits: int | None,
    rounds: int,
    cold_starts: int,
    side: int,
    seed: int,
    url: str | None,
    key: str | None,
    rates: str,
    seconds: float,
    node_model: str,
    suite: Path | None,
    resume: bool,
) -> None:
    """Measure models on photographs: speed, memory and quality, side by side, or a node under load.

    nanoedge bench --photos DIR --model ./nano-fp32 --model nano-banana -o report/

    nanoedge bench --url https://edge.example --photos DIR --rate 2,4,8 -o report/

    The report is report.html, the same as report.md and report.json. Ctrl-C keeps what was measured.
    """
    if ctx.invoked_subcommand is not None:
        return
    if output is None or not (models or url):
        raise OptionError(
            "there is nothing to measure" if output else "there is no place for the report",
            hint="give --model or --url, and a folder with --output; see nanoedge bench --help",
        )
    for library in LIBRARIES:
        plugins.require(library)
    from converters.bench import photographs, settings
    from converters.bench.bench import Bench
    from converters.bench.report import markdown_table
    from converters.bench.suite import EDIT100, load
    from converters.bench.summary import summary
    from converters.bench.tables import tables

    node = settings.Node(url=url, key=key, rates=_rates(rates), seconds=seconds, model=node_model) if url else None
    chosen = Bench(
        settings=settings.Settings(
            contenders=settings.contenders(models, parent), node=node, edits=edits, rounds=rounds,
            cold_starts=cold_starts, side=side, seed=seed,
        ),
        suite=load(suite or EDIT100), photos=photographs.load(photos, masks, side, count), folder=output,
    )  # fmt: skip
    click.echo(_announced(chosen), err=True)
    try:
        measured = chosen.run(Countdown(), resume)
    except KeyboardInterrupt:
        click.echo(
            f"stopped; what was measured is kept in {output}. To go on, give the same command with --resume", err=True
        )
        sys.exit(STOPPED)
    for table in tables(measured, summary(measured)):
        click.echo("\n\n".join([f"## {table.title}", markdown_table(table), *table.notes]) + "\n")
    click.echo(f"{output / 'report.html'}")


def _announced(chosen: object) -> str:
    from converters.bench.bench import Bench

    assert isinstance(chosen, Bench)
    cases = len(chosen.suite.chosen(chosen.settings.edits))
    scenarios = len({case.scenario for case in chosen.suite.chosen(chosen.settings.edits)})
    pixels = sum(photo.pixels.shape[0] * photo.pixels.shape[1] for photo in chosen.photos) / len(chosen.photos)
    return (
        f"{cases} edits of {scenarios} scenarios on {len(chosen.photos)} photographs ({pixels / 1e6:.2f} megapixels on "
        "the average)"
    )


def _rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(0.0 < rate <= 10_000.0 for rate in rates) or len(set(rates)) < len(rates):
        raise OptionError("the rates can't be used", got=text, allowed="numbers above 0, as in 2,4,8", param="rate")
    return rates
