"""report.html: one file with everything in it, plots and pictures too, so that it can be mailed and opened anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment

from converters.bench.measured import Measured
from converters.bench.plots import plots
from converters.bench.sheets import sheets
from converters.bench.tables import tables

TEMPLATE: Final = Path(__file__).with_name("report.html.j2")


def page(folder: Path, measured: Measured, summary: Mapping[str, Any]) -> str:
    """Return the page; pictures are read from the report's folder."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["inline"] = _inline
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        measured=measured,
        summary=summary,
        tables=tables(measured, summary),
        plots=plots(measured, summary),
        sheets=sheets(folder, measured),
        scenarios=len({case["scenario"] for case in measured.cases}),
    )


def _inline(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
