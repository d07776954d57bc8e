"""Pictures of training logs."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from converters.nano_banana.plots import curves, draw

LINES = (
    {"step": 1, "seconds": 60, "stage": "simple", "loss": 2.0},
    {"step": 2, "seconds": 120, "stage": "simple", "held_out": {"en single": {"exact": 0.5, "strength": 0.9}}},
    {"step": 3, "seconds": 180, "stage": "simple", "loss": 1.0},
)


def test_values_are_found_by_name_and_drawn(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    found = curves(log)
    assert found["loss"] == [(1.0, 2.0), (3.0, 1.0)]
    assert found["held_out / en single / exact"] == [(2.0, 0.5)]
    draw("text", found, tmp_path / "text.png")
    with Image.open(tmp_path / "text.png") as picture:
        assert picture.width > 800 and len(picture.convert("RGB").getcolors(1 << 20) or ()) > 10
