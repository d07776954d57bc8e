"""Comparing reports: changes that were really planted are told, and two runs of the same thing show none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click.testing
import pytest

from converters.bench import settings
from converters.bench.bench import Bench
from converters.bench.cli import bench as command
from converters.bench.diff import Verdict, compare, doubts, pairs
from converters.bench.measured import Measured
from converters.bench.suite import load
from edge_runtime.errors import OptionError

EDITS = 16
SLOWER = 0.2
DECIBELS = 0.5
PLANTED = (("speed", "processor time beside quality"), ("quality", "psnr_parent"))
NOISE = 4.0
"""Grey levels: about 36 dB."""


@pytest.fixture
def measured(tmp_path, photos) -> Callable[..., Measured]:
    """Bench two models in turns. `speed` is the float parent of `quality` too, whose time never changes."""

    def run(name: str, speed: Path, quality: Path) -> Measured:
        models = settings.contenders([f"quality={quality}", f"speed={speed}"], speed)
        wanted = settings.Settings(contenders=models, edits=EDITS, side=224, rounds=5, cold_starts=0)
        bench = Bench(settings=wanted, suite=load(), photos=photos, folder=tmp_path / f"report-{name}")
        return bench.run(lambda *_: None, resume=False)

    return run


def told(before: Measured, after: Measured) -> dict[tuple[str, str], Verdict]:
    """All changes but those in absolute seconds, which follow the load of the machine that runs the tests."""
    return {
        (change.model, change.what): change.verdict
        for change in compare(before, after)
        if change.verdict is not Verdict.SAME and change.what != "time of an edit"
    }


@pytest.mark.slow
def test_planted_changes_are_told_and_a_second_run_shows_none(altered, measured, tmp_path) -> None:
    """A fifth more work, and as much more noise as makes half a decibel, both by artifacts that really do it.

    On a machine that does other things seconds alone are too uncertain; those beside another model's are not.
    """
    plain, slow = altered("plain"), altered("slow", slower=SLOWER)
    noisy, noisier = altered("noisy", noise=NOISE), altered("noisier", noise=NOISE * 10 ** (DECIBELS / 20))
    first, changed = measured("a", plain, noisy), measured("c", slow, noisier)
    # twice, as by the promised level one of twenty such pairs may show something
    assert any(told(first, measured(name, plain, noisy)) == {} for name in ("b", "d"))
    worse, better = told(first, changed), told(changed, first)
    for figure in PLANTED:
        assert worse[figure] is Verdict.WORSE and better[figure] is Verdict.BETTER
    assert all("time" in what for model, what in worse if model == "speed")
    changes = {(change.model, change.what): change.change.value for change in compare(first, changed)}
    assert 1.08 < changes["speed", "processor time beside quality"] < 1.3
    assert changes["quality", "psnr_parent"] == pytest.approx(-DECIBELS, abs=0.12)

    def shown(*names: str) -> click.testing.Result:
        folders = [str(tmp_path / f"report-{name}") for name in names]
        return click.testing.CliRunner().invoke(command, ["diff", *folders, "--check"])

    assert shown("a", "c").exit_code == 1 and "psnr_parent" in shown("a", "c").stdout
    assert "psnr_parent" not in shown("a", "b").stdout
    assert pairs(first, changed) == [("quality", "quality"), ("speed", "speed")]
    busier = replace(first, times=[{**entry, "yardstick": _longer(entry["yardstick"])} for entry in first.times])
    assert doubts(first, first) == [] and "x 1.50 as long in the second" in doubts(first, busier)[0]


def _longer(readings: dict[str, float]) -> dict[str, float]:
    return {what: 1.5 * seconds for what, seconds in readings.items()}


def test_what_is_no_report_is_refused(tmp_path) -> None:
    with pytest.raises(OptionError, match="no report of nanoedge bench"):
        Measured.read(tmp_path)
