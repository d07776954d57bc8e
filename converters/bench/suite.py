"""The suite: what is asked for, in both languages, what would be right, and what must not change.

`edit100.json` is the data. What it expects was written by people and says what is right, not what a model does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import OptionError
from edge_runtime.plan import Edit, Plan

EDIT100: Final = Path(__file__).with_name("edit100.json")
LANGUAGES: Final = ("en", "de")

Cells = frozenset[tuple[str, int, str]]
"""What is compared of a plan: adjustment, sign, region. Amounts are a matter of taste."""


class Keep(Enum):
    """The part of the photo that an edit must leave alone."""

    NOTHING = "nothing"
    SUBJECT = "subject"
    BACKGROUND = "background"
    EVERYTHING = "everything"


class JudgedBy(Enum):
    """What says most about a case: the picture that was wanted, the float parent's, what had to stay, the plan."""

    WANTED = "wanted"
    PARENT = "parent"
    PRESERVATION = "preservation"
    PLAN = "plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What is done to the photo before the edit, so that it can be mended: `kind` is of `converters.bench.damage`."""

    kind: str
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One instruction. `plan` is what it means, `alternatives` further plans that are as right.

    An empty plan: no adjustment can do it, and a model should say so. `wish` is what both languages of it share.
    """

    id: str
    wish: str
    scenario: str
    language: str
    instruction: str
    plan: tuple[Edit, ...]
    alternatives: tuple[tuple[Edit, ...], ...]
    keep: Keep
    judged_by: JudgedBy
    damage: Damage | None

    @property
    def accepted(self) -> tuple[Cells, ...]:
        """Return the cells of every plan that is right, the expected one first."""
        return tuple(cells(edits) for edits in (self.plan, *self.alternatives))

    def to_json(self) -> dict[str, Any]:
        """Return what a report tells of it."""
        return {
            "id": self.id, "wish": self.wish, "scenario": self.scenario, "language": self.language,
            "instruction": self.instruction, "plan": [edit.to_json() for edit in self.plan],
            "keep": self.keep.value, "judged_by": self.judged_by.value,
            "damage": None if self.damage is None else {"kind": self.damage.kind, "strength": self.damage.strength},
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Cases under a name and a version."""

    name: str
    version: int
    cases: tuple[Case, ...]

    def chosen(self, count: int | None) -> tuple[Case, ...]:
        """Return so many cases, taken in turns from the scenarios, both languages of a wish together."""
        wishes: dict[str, dict[str, list[Case]]] = {}
        for case in self.cases:
            wishes.setdefault(case.scenario, {}).setdefault(case.wish, []).append(case)
        turns = zip_longest(*(scenario.values() for scenario in wishes.values()), fillvalue=[])
        ordered = [case for turn in turns for pair in turn for case in pair]
        return tuple(ordered[:count])


def load(path: Path = EDIT100) -> Suite:
    """Read a suite; raises OptionError for a file that is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        cases = tuple(_case(wish, language) for wish in data["wishes"] for language in LANGUAGES)
        return Suite(name=str(data["name"]), version=int(data["version"]), cases=cases)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(
            "the suite can't be read",
            got=f"{path}: {error}",
            hint="see converters/bench/edit100.json for the form",
            param="suite",
        ) from error


def cells(edits: Sequence[Edit] | Plan) -> Cells:
    """Return what is compared of edits."""
    found = edits.edits if isinstance(edits, Plan) else edits
    return frozenset((edit.adjust, 1 if edit.amount > 0 else -1, edit.region) for edit in found)


def _case(wish: Mapping[str, Any], language: str) -> Case:
    return Case(
        id=f"{wish['id']}-{language}", wish=wish["id"], scenario=wish["scenario"], language=language,
        instruction=wish[language], plan=_edits(wish["plan"]),
        alternatives=tuple(_edits(edits) for edits in wish.get("alternatives", ())), keep=Keep(wish["keep"]),
        judged_by=JudgedBy(wish["judged_by"]), damage=Damage(**wish["damage"]) if "damage" in wish else None,
    )  # fmt: skip


def _edits(data: Sequence[Mapping[str, Any]]) -> tuple[Edit, ...]:
    return tuple(Edit(**edit) for edit in data)
