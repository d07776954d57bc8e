"""Requests written whole, as people type them, with the edits they ask for: `requests/<language>_*.tsv`.

What a line means and how it is labelled is told in `requests/README.md`. The grammar knows many more combinations,
these know how people really speak; a training draws from both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

from converters.nano_banana.language.clauses import STRENGTHS, UNGRADED
from converters.nano_banana.language.grammar import Instruction
from converters.nano_banana.language.lexicon import Part
from converters.nano_banana.language.wishes import Labelled
from converters.nano_banana.vocabulary import vocabulary

FOLDER: Final = Path(__file__).with_name("requests")
EDIT: Final = re.compile(
    r"(?P<region>[a-z]+)\.(?P<name>[a-z_]+)(?P<sign>[+-])(?P<strength>~|!!?|\d{1,3}%)?(?:\((?P<color>[a-z_]+)\))?"
)
MARKS: Final = {"~": STRENGTHS["slight"], "!": STRENGTHS["strong"], "!!": STRENGTHS["max"]}
NOTHING, BEYOND = "-", "beyond"

JOINED: Final = 0.22
"""How often two requests are put one after the other."""

JOINS: Final = (". ", ". ", "! ", "\n", "; ", ". \n")
BACKWARDS: Final = re.compile(
    r"\b(it|its|them|they|him|her|his|hers|he|she|there|that|those|also|too|same|instead|both|es|ihn|sie|ihm|ihr|ihnen|er"
    r"|dort|da|dahinter|davor|darin|das|den|dem|dieses|auch|ebenso|dasselbe|beides)\b",
    re.IGNORECASE,
)
"""Words that may point at what was said before: a request with one is never put behind another."""


class Written:
    """Draws written requests of one language, reproducibly for a random generator."""

    def __init__(self, language: str, part: Part, random: Random) -> None:
        self.random = random
        self.requests = [each for each in read(language) if part is Part.ALL or part.keeps(each.text)]

    def draw(self) -> Instruction:
        """Return a request, now and then two of them as one."""
        first = self.random.choice(self.requests)
        if self.random.random() < JOINED:
            return joined(first, self.random.choice(self.requests), self.random.choice(JOINS)) or first
        return first


def joined(first: Instruction, second: Instruction, join: str) -> Instruction | None:
    """Return two requests as one; None where they speak of the same, or where the second could mean another thing
    after the first."""
    if not first.edits or not second.edits or BACKWARDS.search(second.text):
        return None
    names = {edit.name for edit in first.edits}
    colored = any(edit.color for edit in first.edits) and any(edit.color for edit in second.edits)
    if colored or any(edit.name in names for edit in second.edits):
        return None
    text = first.text.rstrip(" .!?,;\n") + join + second.text
    return replace(first, text=text, edits=first.edits + second.edits, beyond=first.beyond or second.beyond)


@cache
def read(language: str) -> tuple[Instruction, ...]:
    """Return all written requests of a language, in order of file and line; raises ValueError for a bad line."""
    files = sorted(FOLDER.glob(f"{language}_*.tsv"))
    return tuple(request for file in files for request in _requests(file, language))


def _requests(file: Path, language: str) -> Iterator[Instruction]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            yield request(line, language)
        except ValueError as error:
            raise ValueError(f"{file.name}, line {number}: {error}") from error


def request(line: str, language: str) -> Instruction:
    """Return what a line says: text, TAB, labels; raises ValueError."""
    text, tab, labels = line.partition("\t")
    if not text or not tab or not labels.strip():
        raise ValueError(f"not a text, a TAB and labels: {line!r}")
    marks = labels.split()
    edits = tuple(_edit(mark) for mark in marks if mark not in (NOTHING, BEYOND))
    return Instruction(text, edits, BEYOND in marks, language)


def _edit(mark: str) -> Labelled:
    match = EDIT.fullmatch(mark)
    if match is None:
        raise ValueError(f"not an edit: {mark!r}; allowed: region.adjustment, + or -, strength, (colour)")
    region, name, sign, strength, color = match.group("region", "name", "sign", "strength", "color")
    if name not in {adjustment.name for adjustment in vocabulary().adjustments}:
        raise ValueError(f"no such adjustment: {mark!r}")
    adjustment = vocabulary().adjustment(name)
    if region not in adjustment.regions or (sign == "-" and adjustment.low >= 0):
        raise ValueError(f"{name} has no such region or direction: {mark!r}")
    if color is not None and not (adjustment.takes_color and color in vocabulary().colors):
        raise ValueError(f"no such colour: {mark!r}")
    amount = _amount(name, strength)
    chosen = (color or "white") if adjustment.takes_color else None
    return Labelled(region, name, amount if sign == "+" else -amount, chosen)


def _amount(name: str, strength: str | None) -> float:
    """Return 0..1; the vocabulary's default where no strength is said, or where there is no "a bit" of it."""
    default = vocabulary().adjustment(name).default
    if strength is None or (name in UNGRADED and strength != "!!"):
        return default
    return MARKS[strength] if strength in MARKS else max(0.01, min(1.0, int(strength[:-1]) / 100))
