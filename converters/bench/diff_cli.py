"""`nanoedge bench diff`: arguments, and what changed, on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from converters.columns import aligned

if TYPE_CHECKING:
    from converters.bench.diff import Change

CHANGED_FOR_THE_WORSE: Final = 1


@click.command()
@click.argument("before", type=click.Path(exists=True, path_type=Path))
@click.argument("after", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--all", "all_of_them", is_flag=True, help="Show what stayed the same too.")
@click.option("--check", is_flag=True, help="Exit with 1 when something got worse.")
def diff(before: Path, after: Path, as_json: bool, all_of_them: bool, check: bool) -> None:
    """Tell what got better or worse from report BEFORE to report AFTER, with intervals.

    Models are compared by label; when each report has one only, these two are. A change is told when all of its
    interval lies beyond what is of no account; two runs of the same thing, on a machine as busy in both, should show
    one in less than one case of twenty.
    """
    from converters.bench.diff import Verdict, compare, doubts
    from converters.bench.measured import Measured

    reports = Measured.read(before), Measured.read(after)
    changes = compare(*reports)
    worse = [change for change in changes if change.verdict is Verdict.WORSE]
    better = [change for change in changes if change.verdict is Verdict.BETTER]
    if as_json:
        click.echo(json.dumps([change.to_json() for change in changes], indent=2))
    else:
        for sentence in doubts(*reports):
            click.echo(f"note: {sentence}", err=True)
        shown = changes if all_of_them else [*worse, *better]
        if shown:
            click.echo(_table(shown))
        same = len(changes) - len(worse) - len(better)
        click.echo(f"{len(worse)} worse, {len(better)} better, {same} of {len(changes)} figures the same")
    if check and worse:
        sys.exit(CHANGED_FOR_THE_WORSE)


def _table(changes: Sequence[Change]) -> str:
    header = ["verdict", "model", "what", "change", "interval", "of no account up to"]
    return aligned([header, *(_row(change) for change in changes)])


def _row(change: Change) -> list[str]:
    found = change.change
    if change.ratio:
        cells = [f"x {found.value:.3f}", f"{found.low:.3f} .. {found.high:.3f}", f"{100 * change.margin:.0f} %"]
    else:
        unit = f" {change.unit}" if change.unit else ""
        cells = [f"{found.value:+.4g}{unit}", f"{found.low:+.4g} .. {found.high:+.4g}", f"{change.margin:g}{unit}"]
    return [change.verdict.value, change.model, change.what, *cells]
