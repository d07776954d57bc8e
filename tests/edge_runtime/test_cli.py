"""The command as a person runs it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.program import program


def nanoedge(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*program(), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.asarray(data.astronaut())).save(path)
    return path


def test_edit_writes_the_result(photo: Path, tmp_path: Path) -> None:
    done = nanoedge("edit", photo, "black and white", "-o", tmp_path / "out.jpg")
    assert done.returncode == 0, done.stderr
    assert "black_and_white" in done.stdout
    assert np.ptp(np.asarray(Image.open(tmp_path / "out.jpg")).astype(int), axis=-1).max() <= 2


def test_edit_with_a_plan_and_a_report(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"edits": [{"adjust": "sepia", "amount": 1.0}]}')
    done = nanoedge("edit", photo, "--plan", f"@{tmp_path / 'plan.json'}", "-o", tmp_path / "o.png", "--json")
    report = json.loads(done.stdout)
    assert report["plan"]["edits"] == [{"adjust": "sepia", "amount": 1.0, "region": "all"}]
    assert report["media_type"] == "image/png" and report["seconds"]["render"] > 0


def test_plan_prints_json() -> None:
    done = nanoedge("plan", "--json", "etwas heller, und den Hintergrund unscharf")
    assert {edit["adjust"] for edit in json.loads(done.stdout)["edits"]} == {"exposure", "blur"}


def test_version() -> None:
    assert nanoedge("--version").stdout.startswith("nanoedge, version 0.1.0")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("edit", "{photo}", "warmer", "-o", "out.bmp"), 2, ".jpg"),
        (("edit", "{photo}", "warmer", "-o", "nowhere/out.jpg"), 2, "folder doesn't exist"),
        (("edit", "missing.jpg", "warmer", "-o", "out.jpg"), 2, "missing.jpg"),
        (("edit", "{photo}", "", "-o", "out.jpg"), 2, "empty"),
        (("edit", "{photo}", "x" * 10_000, "-o", "out.jpg"), 2, "1 to 2000"),
        (("edit", "{photo}", "-o", "out.jpg"), 2, "instruction or a plan"),
        (("edit", "{photo}", "--plan", "{", "-o", "out.jpg"), 2, "not JSON"),
        (("edit", "{photo}", "--plan", '{"edits": [{"adjust": "heat"}]}', "-o", "out.jpg"), 2, "heat"),
        (("edit", "{photo}", "warmer", "-o", "out.jpg", "--model", "gpt-9"), 3, "gpt-9"),
        (("edit", "{photo}", "warmer", "-o", "out.jpg", "--size", "0x0"), 2, "size"),
        (("edit", "{text}", "warmer", "-o", "out.jpg"), 2, "not a picture"),
    ],
)
def test_bad_input_is_one_clear_line(
    photo: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    filled = [argument.replace("{photo}", str(photo)).replace("{text}", str(text)) for argument in arguments]
    done = nanoedge(*filled, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr.lower() or message in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out.jpg").exists()


def test_an_edit_leaves_nothing_but_its_result(photo: Path, tmp_path: Path) -> None:
    """ONNX Runtime's telemetry would leave an identifier in the home and a database of what it will report."""
    home = tmp_path / "home"
    home.mkdir()
    command = [*program(), "edit", str(photo), "warmer", "-o", str(tmp_path / "out.jpg")]
    environment = {"HOME": str(home), "TMPDIR": str(home), "PATH": os.environ["PATH"]}
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=120)
    assert (tmp_path / "out.jpg").exists() and list(home.rglob("*")) == []
