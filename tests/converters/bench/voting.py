"""A report's folder in the shape that `nanoedge bench` writes, and a started page for it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageEnhance
from skimage import data

ROOT = Path(__file__).parents[3]
MODELS = ("ember-fp32", "ember-int8", "ember-int4")
BRIGHTNESS = {"ember-fp32": 1.0, "ember-int8": 0.75, "ember-int4": 0.5}
CASES = (
    {"id": "light-1", "scenario": "light", "language": "en", "instruction": "make it brighter"},
    {"id": "light-2", "scenario": "light", "language": "de", "instruction": "etwas heller bitte"},
)


def write_report(folder: Path, models: Sequence[str] = MODELS, side: int = 96) -> Path:
    """Two cases on two photographs, each model's pictures darker than the one's before it."""
    photos = {name: Image.fromarray(getattr(data, name)()).convert("RGB").resize((side, side))
              for name in ("astronaut", "coffee")}
    edits = []
    for case in CASES:
        for name, photo in photos.items():
            place = folder / "pictures" / case["id"] / name
            place.mkdir(parents=True)
            photo.save(place / "before.jpg")
            for model in models:
                picture = place / f"{model}.jpg"
                ImageEnhance.Brightness(photo).enhance(BRIGHTNESS[model]).save(picture, comment=model.encode())
                edits.append({"case": case["id"], "photo": f"{name}.jpg", "model": model,
                              "picture": picture.relative_to(folder).as_posix()})
    save(folder, {"models": [{"label": model} for model in models], "cases": list(CASES), "edits": edits})
    return folder


def load(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def save(folder: Path, report: object) -> None:
    (folder / "report.json").write_text(json.dumps(report))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from converters.bench.vote import vote; vote()", *arguments]


@contextmanager
def started_page(report: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The page in a process of its own: its address, and the process, which is ended by its id."""
    process = subprocess.Popen(
        command(str(report), "--port", "0", *arguments), stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"vote on (http://\S+)", line)
        assert found is not None, line + process.stderr.read()
        yield found[1], process
    finally:
        process.terminate()
        process.wait(20)
        assert process.stderr is not None
        process.stderr.close()
