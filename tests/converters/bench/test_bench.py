"""The whole command: models side by side, a stop and how it goes on, and a node under load."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from converters.bench import settings
from converters.bench.bench import Bench
from converters.bench.measured import Measured
from converters.bench.suite import load
from converters.bench.summary import summary
from edge_runtime.errors import OptionError
from tests.converters.bench.reports import nanoedge, write_report
from tests.program import program
from tests.server.started import ROOT

pytestmark = pytest.mark.slow


def bench(folder: Path, photos, *models: str, **options) -> Bench:
    wanted = settings.Settings(contenders=settings.contenders(models, None), side=224, **options)
    return Bench(settings=wanted, suite=load(), photos=photos, folder=folder)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """Of the embedded model beside itself, and of a node, by the command."""
    folder = tmp_path_factory.mktemp("bench") / "report"
    done = write_report(folder)
    for words in ("## Speed and size", "## Quality", "## Node", "lpips was not measured", "report.html"):
        assert words in done.stdout
    assert "22 edits of 11 scenarios on 3 photographs" in done.stderr
    return folder


def test_the_report_has_everything(report) -> None:
    data = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert data["finished"] and [model["label"] for model in data["models"]] == ["nano-banana", "twin"]
    assert len(data["times"]) == 2 * 22 and len(data["edits"]) == 2 * 22 and len(data["cases"]) == 22
    speed = data["summary"]["speed"]["twin"]
    assert {"decode", "text", "vision", "render", "encode", "total"} <= {*speed}
    for name in ("mean", "p50", "p95", "p99"):
        assert speed["total"][name]["low"] <= speed["total"][name]["value"] <= speed["total"][name]["high"]
    ratio = data["summary"]["ratios"]["twin"]
    assert 0.7 < ratio["value"] < 1.4
    assert data["summary"]["cold"]["twin"]["opened"]["value"] < data["summary"]["cold"]["twin"]["first_edit"]["value"]
    if sys.platform == "linux":
        assert 50e6 < data["summary"]["peak_bytes"]["twin"] < 2e9
    quality = data["summary"]["quality"]
    assert quality["twin"] == quality["nano-banana"]  # the same files
    assert quality["twin"]["psnr_wanted"]["value"] > 30.0
    markdown = (report / "report.md").read_text(encoding="utf-8")
    assert "scikit-image" in markdown and "3 photographs" in markdown


def test_pictures_lie_where_the_votes_look_for_them(report) -> None:
    data = Measured.read(report)
    stems = {photo["stem"] for photo in data.photos}
    for edit in data.edits:
        place = f"pictures/{edit['case']}/{edit['photo']}"
        assert edit["picture"] == f"{place}/{edit['model']}.jpg" and edit["before"] == f"{place}/before.jpg"
        assert edit["photo"] in stems
        with Image.open(report / edit["picture"]) as picture:
            picture.load()
        assert (report / edit["before"]).is_file()


def test_a_node_is_measured_at_every_rate(report) -> None:
    data = Measured.read(report)
    assert [entry["rate"] for entry in data.rates] == [2.0, 6.0]
    for found in summary(data)["node"]:
        assert found["arrivals"] == found["done"] + found["refused"] + found["failed"] and found["failed"] == 0
        assert found["p50"]["value"] <= found["p95"]["value"]
    key = "nanoedge_secret"
    assert key not in (report / "report.json").read_text(encoding="utf-8")


def test_a_folder_with_a_report_is_left_alone(report, photos) -> None:
    with pytest.raises(OptionError, match="--resume"):
        bench(report, photos, "nano-banana").run(lambda *_: None, resume=False)
    with pytest.raises(OptionError, match="other settings"):
        bench(report, photos, "nano-banana").run(lambda *_: None, resume=True)


def test_ctrl_c_keeps_what_was_measured_and_resume_goes_on(tmp_path) -> None:
    folder = tmp_path / "report"
    options = ("--model", "nano-banana", "--edits", 4, "--rounds", 30, "--cold-starts", 0, "--side", 128, "--count", 2)
    command = [*program(), "bench", *map(str, (*options, "-o", folder))]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    journal = folder / "samples.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.exists() and '"time"' in journal.read_text(encoding="utf-8")):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in said, said
    stopped = Measured.read(folder)
    assert not stopped.finished and len(stopped.quality) == 4 and 0 < len(stopped.times) < 120
    assert "Unfinished" in (folder / "report.html").read_text(encoding="utf-8")

    with journal.open("a", encoding="utf-8") as file:
        file.write('{"kind": "time", "round": 3, "ed')  # as when the power fails
    done = nanoedge(*options, "-o", folder, "--resume")
    assert done.returncode == 0, done.stderr
    finished = Measured.read(folder)
    assert finished.finished and len(finished.times) == 120
    assert [*finished.times[: len(stopped.times)]] == [*stopped.times]


def test_what_is_asked_wrongly_is_said_in_one_line(tmp_path) -> None:
    for arguments, words in (
        ((), "nothing to measure|no place"),
        (("--model", "no-such", "-o", tmp_path / "a"), "no such model"),
        (("--url", "http://127.0.0.1:9", "-o", tmp_path / "b"), "can't be reached"),
        (("--url", "http://127.0.0.1:9", "--rate", "fast", "-o", tmp_path / "c"), "rates can't be used"),
        (("--model", "nano-banana", "--model", "nano-banana", "-o", tmp_path / "d"), "(?i)one label|given twice"),
    ):
        done = nanoedge(*arguments)
        assert done.returncode in (2, 3) and re.search(words, done.stderr, re.IGNORECASE), done.stderr
        assert "Traceback" not in done.stderr
