"""Artifacts of other recipes beside the embedded one, converted once and kept in runs/."""

from __future__ import annotations

import sys
from pathlib import Path

from converters.convert import Request, convert
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED

RUNS = Path("runs") / "bench"


def sibling(recipe: str) -> Path:
    """Return an artifact made like the embedded one by another recipe, converted if it isn't there yet."""
    folder = RUNS / Artifact.open(EMBEDDED).version / recipe
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        convert(Request(source="nano-banana", destination=folder, recipe=recipe), say)
    return folder


def say(line: str) -> None:
    """Tell progress on stderr."""
    print(line, file=sys.stderr, flush=True)
