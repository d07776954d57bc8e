"""All examinations in their order, and their findings as a table."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.editor import EMBEDDED
from edge_runtime.state import MODELS
from server.doctor import models, network, storage, system
from server.doctor.finding import Finding, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What is examined: the options that `nanoedge serve` would be given."""

    host: str
    port: int
    state: Path
    models: tuple[Path, ...] = ()
    providers: Path | None = None
    device: str | None = None
    model_store: Path | None = None
    model_keys: Path | None = None


def examine(patient: Patient) -> Iterator[Finding]:
    """Yield findings as they come; takes seconds, and leaves nothing behind."""
    yield from system.system()
    yield from storage.state_folder(patient.state)
    yield from storage.temporary_folder()
    held = patient.state.glob("*") if os.access(patient.state, os.R_OK) else iter(())
    yield system.clock([EMBEDDED / "manifest.json", *held])
    yield models.engines()
    yield from models.models(patient.models)
    yield from models.stored(patient.model_store or patient.state / MODELS, patient.model_keys)
    yield from models.devices(patient.device)
    yield network.port(patient.host, patient.port)
    yield network.certificates()
    if patient.providers:
        yield from network.providers(patient.providers, os.environ)


def row(finding: Finding) -> str:
    """Return a finding as lines of a table: status, subject, what was found, and below it the fix."""
    columns = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
    start = f"{finding.status.value:<5} {finding.subject:<18} "
    lines = textwrap.wrap(finding.found, columns, initial_indent=start, subsequent_indent=" " * len(start))
    if finding.fix:
        indent = " " * len(start)
        lines += textwrap.wrap(finding.fix, columns, initial_indent=f"{indent}-> ", subsequent_indent=f"{indent}   ")
    return "\n".join(lines)


def summary(findings: Sequence[Finding]) -> str:
    """Return how many findings are of which kind."""
    counts = {status: sum(finding.status is status for finding in findings) for status in Status}
    return f"{counts[Status.OK]} ok, {counts[Status.WARN]} to look at, {counts[Status.FAIL]} wrong"
