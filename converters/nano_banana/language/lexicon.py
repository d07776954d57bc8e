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
HELD_OUT_SHARE = 0.1
SHARED_SHARE_OF = 10_000


class Part(Enum):
    """Which phrases a lexicon keeps: all of them, those to learn from, or those to be tested on."""

    ALL = "all"
    LEARN = "learn"
    HELD_OUT = "held_out"


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One language's phrase lists. `adjust` is keyed by signed adjustment (`exposure+`), its entries by
    kind: `direct`, `direct_background`, `adjective`, ..."""

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
    numbers: Mapping[str, list[str]]
    fractions: Mapping[str, float]
    spelling: list[list[str]]
    pronouns: Mapping[str, list[str]]
    baked: Mapping[str, list[str]]
    verbs: frozenset[str]
    amounts: list[str]


SHELLS = (
    "up", "down", "add", "take", "make", "complain", "lack", "negations", "wrap", "wrap_verb", "join", "fillers",
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
        adjust={key: {k: _kept(v, part) for k, v in entry.items()} for key, entry in data["adjust"].items()},
        nouns={key: _kept(pairs, part) for key, pairs in data["nouns"].items()},
        effects={key: _kept(pairs, part) for key, pairs in data["effects"].items()},
        words={slot: data.get(name) or data["objects"] for name, slot in WORDS.items()},
        color_words=color_words,
        beyond=_kept(data["beyond"], part),
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


def is_held_out(phrase: object) -> bool:
    """Return whether a phrase belongs to the held-out tenth. Depends on its text alone."""
    text = json.dumps(phrase, ensure_ascii=False)
    return crc32(text.encode()) % SHARED_SHARE_OF < HELD_OUT_SHARE * SHARED_SHARE_OF


def _kept(phrases: list[Any], part: Part) -> list[Any]:
    """Return the phrases of `part`, without repetitions where it is the held-out part."""
    if part is Part.ALL:
        return phrases
    return [phrase for phrase in phrases if is_held_out(phrase) == (part is Part.HELD_OUT)]


def _shell(phrases: list[str], part: Part) -> list[str]:
    """Return sentence frames: learning goes without the held-out ones, testing has all."""
    kept = _kept(phrases, Part.LEARN) if part is Part.LEARN else phrases
    return kept or phrases
