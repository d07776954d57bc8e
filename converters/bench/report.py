"""Writes a report's folder: report.json (everything), report.md (tables), report.html (one file, to be looked at)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from converters.bench import html
from converters.bench.measured import FILE, Measured
from converters.bench.summary import summary
from converters.bench.tables import Table, tables
from edge_runtime.cli import write_file

MARKDOWN: Final = "report.md"
HTML: Final = "report.html"


def write(folder: Path, measured: Measured) -> None:
    """Write the three files, each of them whole or not at all; raises OptionError."""
    figures = summary(measured)
    data = {**measured.to_json(), "summary": figures}
    write_file(folder / FILE, (json.dumps(data, ensure_ascii=False, indent=1) + "\n").encode())
    write_file(folder / MARKDOWN, markdown(measured, figures).encode())
    write_file(folder / HTML, html.page(folder, measured, figures).encode())


def markdown(measured: Measured, figures: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    parts = ["# nanoedge bench", *headlines(measured)]
    for table in tables(measured, figures):
        parts += [f"## {table.title}", markdown_table(table), *table.notes]
    return "\n\n".join(parts) + "\n"


def headlines(measured: Measured) -> list[str]:
    """Return sentences on what was measured, and on what."""
    suite, machine = measured.suite, measured.machine
    scenarios = len({case["scenario"] for case in measured.cases})
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    unfinished = [] if measured.finished else ["**Unfinished**: what was measured before it was stopped."]
    return [
        *unfinished,
        f"{len(measured.cases)} of {suite['cases']} cases of {suite['name']} version {suite['version']} ({scenarios} "
        f"scenarios) on {len(measured.photos)} photographs, long side up to {measured.settings['side']} px.",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB, "
        f"{machine['system']}, Python {machine['python']}, {versions}, {machine['began']}, load at the start "
        f"{machine['load_at_start']}.",
    ]


def markdown_table(table: Table) -> str:
    """Return a table as Markdown."""
    return "\n".join(_line(cells) for cells in (table.header, ["---"] * len(table.header), *table.rows))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
