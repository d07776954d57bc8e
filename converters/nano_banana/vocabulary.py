"""The adjustments of nano-banana as data: `vocabulary.json` is the one list that graphs, phrases, manifest and
docs are made from."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from edge_runtime.plan import Vocabulary

PATH = Path(__file__).with_name("vocabulary.json")


@cache
def vocabulary_json() -> dict[str, Any]:
    """Return the file's content, as it goes into the manifest."""
    data: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return data


@cache
def vocabulary() -> Vocabulary:
    """Return the checked vocabulary."""
    return Vocabulary.from_json(vocabulary_json())


@cache
def indices() -> dict[str, int]:
    """Return adjustment name -> position on the `amounts` axis."""
    return {adjustment.name: i for i, adjustment in enumerate(vocabulary().adjustments)}
