"""Which model suits which kind of wish. The knowledge is data, in `advice.json`; here it is read and asked.

A wish within what the small model can do is of the kind `edge`. Others are told apart by their words, in the file's
order; what no words claim is of the last kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_runtime.errors import NanoedgeError

EDGE: Final = "edge"
_FILE: Final = Path(__file__).with_name("advice.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Kind of wish -> models in order of preference, and words that speak of it; * stands for any ending."""

    models: Mapping[str, Sequence[str]]
    words: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        if set(self.models) != set(self.words) or EDGE not in self.models or len(self.models) < 2:
            raise NanoedgeError("the advice needs models and words for each kind", got=", ".join(self.models))

    @classmethod
    def read(cls, path: Path = _FILE) -> Advice:
        """Read a file like `advice.json`; raises NanoedgeError for one that can't be used."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            models = {kind: tuple(entry["models"]) for kind, entry in data.items()}
            words = {kind: tuple(entry["words"]) for kind, entry in data.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise NanoedgeError("the advice can't be read", got=error) from error
        return cls(models=models, words=words)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the names of the kinds."""
        return tuple(self.models)

    def kind(self, instruction: str, *, beyond: bool) -> str:
        """Return the kind of a wish; `beyond` says that the small model can't do it."""
        if not beyond:
            return EDGE
        text, (*claimed, rest) = instruction.lower(), (kind for kind in self.models if kind != EDGE)
        return next((kind for kind in claimed if _speaks_of(text, self.words[kind])), rest)

    def place(self, kind: str, family: str, good_for: Sequence[str]) -> int:
        """Return how well a model suits a kind, 0 being best; `good_for` is what the operator says of it."""
        models = self.models[kind]
        if kind in good_for:
            return 0
        return models.index(family) if family in models else len(models)


def _speaks_of(text: str, words: Sequence[str]) -> bool:
    patterns = (re.escape(word.removesuffix("*")) + ("" if word.endswith("*") else r"\b") for word in words)
    return any(re.search(rf"\b{pattern}", text) for pattern in patterns)
