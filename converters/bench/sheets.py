"""Contact sheets: the edits that came out worst and best, the photo beside every model's picture, as one JPEG each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from converters.bench.measured import Measured

HEIGHT: Final = 190
_LABEL, _GAP, _SIDE = 22, 8, 300
_ORDER: Final = ("psnr_parent", "psnr_wanted", "preservation", "psnr_definition")
WORST, BEST = 6, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A sheet with its title; one line of `captions` an edit, top to bottom."""

    title: str
    captions: Sequence[str]
    rows: Sequence[bytes]


def sheets(folder: Path, measured: Measured) -> list[Sheet]:
    """Return the worst and the best edits, of the model that does worst at each, by the first figure that there is."""
    name = next((name for name in _ORDER if name in measured.figure_names), None)
    if name is None:
        return []
    sign = 1.0 if measured.kind(name)["higher_is_better"] else -1.0
    worst: dict[str, tuple[float, str]] = {}
    for label in measured.labels:
        for edit, value in measured.figure(label, name).items():
            worst[edit] = min(worst.get(edit, (np.inf, "")), (sign * value, label))
    ordered = _one_of_each_wish(sorted(worst, key=lambda edit: worst[edit]), measured)
    low = ordered[:WORST]
    high = [edit for edit in reversed(ordered) if edit not in low][:BEST]
    told = {edit: f"{name} {sign * value:.2f} by {label}" for edit, (value, label) in worst.items()}
    return [
        _sheet(title, folder, measured, edits, told)
        for title, edits in ((f"Worst by {name}", low), (f"Best by {name}", high))
        if edits
    ]


def _one_of_each_wish(edits: Sequence[str], measured: Measured) -> list[str]:
    """Leave the second language out, which most often gives the same picture."""
    wish = {case["id"]: case["wish"] for case in measured.cases}
    first: dict[str, str] = {}
    for edit in edits:
        first.setdefault(wish[edit.partition("/")[0]], edit)
    return [*first.values()]


def _sheet(title: str, folder: Path, measured: Measured, edits: Sequence[str], figures: Mapping[str, str]) -> Sheet:
    instruction = {case["id"]: case["instruction"] for case in measured.cases}
    entries = {entry["edit"]: entry for entry in measured.quality}
    captions = [f"“{instruction[edit.partition('/')[0]]}” — {figures[edit]}" for edit in edits]
    return Sheet(title=title, captions=captions, rows=[_row(folder, entries[edit], measured.labels) for edit in edits])


def _row(folder: Path, entry: Mapping[str, Any], labels: Sequence[str]) -> bytes:
    places = {"before": entry["before"], **{label: entry["models"][label]["picture"] for label in labels}}
    cells = [_cell(folder / place, name) for name, place in places.items()]
    row = Image.new("RGB", (sum(cell.width + _GAP for cell in cells) - _GAP, HEIGHT + _LABEL), "white")
    left = 0
    for cell in cells:
        row.paste(cell, (left, 0))
        left += cell.width + _GAP
    buffer = BytesIO()
    row.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _cell(path: Path, name: str) -> Image.Image:
    with Image.open(path) as picture:
        picture.draft("RGB", (2 * _SIDE, 2 * HEIGHT))
        small = picture.convert("RGB")
    small.thumbnail((_SIDE, HEIGHT), Image.Resampling.LANCZOS)
    cell = Image.new("RGB", (small.width, HEIGHT + _LABEL), "white")
    cell.paste(small, (0, _LABEL))
    ImageDraw.Draw(cell).text((1, 3), name, fill="#334155", font=ImageFont.load_default(13))
    return cell
