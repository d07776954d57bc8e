"""The phrase lists of one language and how they are split for validation. What the lists mean is written in
`grammar.py` and `clauses.py`; this file only reads, checks and selects them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from zlib import crc32

FOLDER = Path(__file__).parent
HELD_OUT_SHARE, RESERVED_SHARE = 0.1, 0.04
PLACES = 10_000


class Part(Enum):
    """Which phrases a lexicon keeps: all of them, those to learn from or to be tested on; at the end of a training
    most of the latter are learned too, and a reserve stays unknown for good. Values are ranges of a phrase's place."""

    ALL = (0.0, 1.0)
    LEARN = (HELD_OUT_SHARE, 1.0)
    HELD_OUT = (0.0, HELD_OUT_SHARE)
    RELEASED = (RESERVED_SHARE, 1.0)
    RESERVED = (0.0, RESERVED_SHARE)

    def keeps(self, phrase: object) -> bool:
        """Return whether a phrase belongs to this part; depends on its text alone."""
        low, high = self.value
        return low <= place_of_phrase(phrase) < high

    @property
    def is_learned(self) -> bool:
        """Return whether it is a part to learn from."""
        return self.value[1] == 1.0


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One language's phrase lists. `adjust` is keyed by signed adjustment (`exposure+`), its entries by
    kind: `direct`, `direct_background`, `adjective`, ... `erase` asks for an object to be taken out."""

    language: str
    regions: Mapping[str, Mapping[str, list[str]]]
    adverbs: Mapping[str, Mapping[str, list[str]]]
    shells: Mapping[str, list[str]]
    adjust: Mapping[str, Mapping[str, list[str]]]
    nouns: Mapping[str, list[list[str]]]
    effects: Mapping[str, list[list[str]]]
    words: Mapping[str, list[str]]
    color_words: Mapping[str, Mapping[str, list[str]]]
    beyond: list[str]
    erase: list[str]
    numbers: Mapping[str, list[str]]
    fractions: Mapping[str, float]
    spelling: list[list[str]]
    pronouns: Mapping[str, list[str]]
    baked: Mapping[str, list[str]]
    verbs: frozenset[str]
    amounts: list[str]


SHELLS = (
    "up", "down", "add", "take", "make", "complain", "lack", "negations", "negations_first", "wrap", "wrap_verb",
    "join", "fillers",
)  # fmt: skip
WORDS = {"objects": "object", "places": "place", "persons": "person", "things": "thing", "relatives": "relative"}
COLOR_WORDS = {
    "color": "colors",
    "color_adj": "colors_adjective",
    "color_nom": "colors_nominative",
    "color_adj_dat": "colors_dative",
}
ADVERBS = {
    "before": "adverbs",
    "comparative": "adverbs_comparative",
    "after": "adverbs_verb",
    "too": "adverbs_complain",
}


def load(language: str, part: Part = Part.ALL) -> Lexicon:
    """Read `<language>.json` and keep the phrases of `part`."""
    data: dict[str, Any] = json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    forms: dict[str, Any] = json.loads((FOLDER / "forms.json").read_text(encoding="utf-8"))[language]
    color_words = {slot: data.get(name, data["colors"]) for slot, name in COLOR_WORDS.items()}
    return Lexicon(
        language=language,
        regions=data["regions"],
        adverbs={name: data[key] for name, key in ADVERBS.items()},
        shells={name: _shell(data.get(name, []), part) for name in SHELLS} | {"and": forms["and"]},
        adjust=_adjust(data, part),
        nouns={key: _kept(pairs, part) for key, pairs in data["nouns"].items()},
        effects={key: _kept(pairs, part) for key, pairs in data["effects"].items()},
        words={slot: data.get(name) or data["objects"] for name, slot in WORDS.items()},
        color_words=color_words,
        beyond=_kept(data["beyond"], part),
        erase=_kept(data.get("erase", []), part),
        numbers=forms["percent"],
        fractions=forms["fractions"],
        spelling=forms["spelling"],
        pronouns=forms["pronouns"],
        baked=forms["baked"],
        verbs=frozenset(forms["verbs"]),
        amounts=forms["amounts"],
    )


def languages() -> tuple[str, ...]:
    """Return the languages that have a lexicon, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("??.json")))


def place_of_phrase(phrase: object) -> float:
    """Return a number of 0..1 that depends on a phrase's text alone."""
    text = json.dumps(phrase, ensure_ascii=False)
    return crc32(text.encode()) % PLACES / PLACES


def _kept(phrases: list[Any], part: Part) -> list[Any]:
    """Return the phrases of `part`."""
    return phrases if part is Part.ALL else [phrase for phrase in phrases if part.keeps(phrase)]


def _shell(phrases: list[str], part: Part) -> list[str]:
    """Return sentence frames: learning goes without the held-out ones, testing has all."""
    return (_kept(phrases, part) if part.is_learned else phrases) or phrases


def _adjust(data: dict[str, Any], part: Part) -> dict[str, dict[str, list[str]]]:
    """Return the phrases of each signed adjustment; to erase what is marked is `inpaint+`."""
    entries = {key: dict(entry) for key, entry in data["adjust"].items()}
    if marked := data.get("erase_marked"):
        erasing = entries.setdefault("inpaint+", {})
        erasing["direct"] = [*erasing.get("direct", []), *marked]
    return {key: {kind: _kept(phrases, part) for kind, phrases in entry.items()} for key, entry in entries.items()}
