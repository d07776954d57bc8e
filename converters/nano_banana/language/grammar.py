"""Whole instructions with the plan they ask for: one to four adjustments, joined, wrapped in politeness, mixed with
small talk, with clauses that must change nothing and with wishes beyond the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from converters.nano_banana.language.clauses import (
    ONE_REGION,
    Clause,
    ClauseWriter,
    Labelled,
    Setting,
    Wish,
    opposite,
    signed_keys,
)
from converters.nano_banana.language.lexicon import Lexicon
from converters.nano_banana.language.noise import noisy
from converters.nano_banana.vocabulary import vocabulary

COUNTS = (1, 2, 3, 4)
COUNT_SHARES = (0.42, 0.34, 0.18, 0.06)
SIMPLE_SHARES = (0.85, 0.15, 0.0, 0.0)
"""How often an instruction has so many edits; the simple shares are for the first part of a training."""

REGION_SHARES = (0.56, 0.2, 0.24)
BLUR_REGION_SHARES = (0.3, 0.12, 0.58)
RARE_KEYS = {"hue-": 0.5, "vibrance-": 0.6, "midtones-": 0.7, "whites-": 0.8, "whites+": 0.8, "midtones+": 0.8}
FREQUENT_KEYS = {"exposure+": 1.8, "exposure-": 1.5, "saturation+": 1.3, "saturation-": 1.3, "warmth+": 1.4,
                 "warmth-": 1.4, "blur+": 1.5, "remove+": 1.3, "fill+": 1.8, "contrast+": 1.2}  # fmt: skip
KEY_WEIGHTS = {**RARE_KEYS, **FREQUENT_KEYS}
OTHER_REGION = {"subject": "background", "background": "subject"}
CONTRAST = 0.35
"""How often a clause about one region is followed by one about the other, half of these with the opposite wish."""

BARE = 0.4
"""How often the whole image isn't named, as in "a bit warmer, and blur the background"."""

SHOPPING_LIST = 0.5
"""How often several edits begin as "a bit warmer, more contrast, ..."; what follows may name a region."""

ONLY_BEYOND, ALSO_BEYOND, NOTHING = 0.11, 0.05, 0.025


@dataclass(frozen=True, slots=True)
class Instruction:
    """A text, the edits it asks for and whether it asks for more than the vocabulary has."""

    text: str
    edits: tuple[Labelled, ...]
    beyond: bool
    language: str

    @property
    def is_single(self) -> bool:
        """Return whether it asks for at most one thing."""
        return len(self.edits) + self.beyond <= 1


class Grammar:
    """Draws instructions of one language from a lexicon, reproducibly for a seed."""

    def __init__(self, lexicon: Lexicon, seed: int, shares: Sequence[float] = COUNT_SHARES) -> None:
        self.lexicon = lexicon
        self.shares = shares
        self.random = Random(seed)
        self.writer = ClauseWriter(lexicon, self.random)
        self.keys = [key for key in signed_keys() if self.writer.routes(Wish(ONE_REGION.get(key[:-1], "all"), key))]
        self.weights = [KEY_WEIGHTS.get(key, 1.0) for key in self.keys]

    def draw(self) -> Instruction:
        """Return one instruction."""
        kind = self.random.random()
        if kind < NOTHING:
            return self.finished([], [], beyond=False)
        if kind < NOTHING + ONLY_BEYOND:
            parts = [self.beyond() for _ in range(self.random.choice((1, 1, 1, 2)))]
            return self.finished(parts, [], beyond=True)
        clauses = self.clauses(self.random.choices(COUNTS, self.shares)[0])
        parts = [clause.text for clause in clauses]
        beyond = self.random.random() < ALSO_BEYOND
        if beyond:
            parts.insert(self.random.randint(0, len(parts)), self.beyond())
        return self.finished(parts, [edit for clause in clauses for edit in clause.edits], beyond)

    def clauses(self, count: int) -> list[Clause]:
        """Return clauses for `count` different adjustments."""
        clauses: list[Clause] = []
        taken: set[tuple[str, str]] = set()
        previous = Wish("all", "")
        if count > 1 and self.random.random() < SHOPPING_LIST:
            for wish in self.shopping_list(count - 1):
                clauses.append(self.writer.brief(wish))
                taken.add(("all", wish.name))
        while len(taken) < count:
            wishes, setting = self.wishes(count - len(taken), previous, taken)
            if not wishes:
                continue
            clause = self.writer.write(wishes, setting) or self.writer.write(wishes[:1], setting)
            if clause is None:
                continue
            clauses.append(clause)
            taken |= {(edit.region, edit.name) for edit in clause.edits}
            previous = wishes[0]
        return clauses

    def shopping_list(self, count: int) -> list[Wish]:
        """Return wishes for the whole image that can be said in a word or two."""
        found: dict[str, Wish] = {}
        while len(found) < count:
            wish = Wish("all", self.key())
            if ONE_REGION.get(wish.name, "all") == "all" and {"make", "noun+", "noun-"} & {*self.writer.routes(wish)}:
                found[wish.name] = wish
        return list(found.values())

    def wishes(self, most: int, last: Wish, taken: set[tuple[str, str]]) -> tuple[list[Wish], Setting]:
        """Return wishes for one clause (often one, sometimes several of one region) that are not taken yet."""
        referring = bool(taken) and self.random.random() < 0.25
        key, previous = self.key(), last.region
        region = previous if referring else self.region(key)
        if previous in OTHER_REGION and self.random.random() < CONTRAST:
            # "warm up the subject, cool down the background"
            key = self.flipped(last.key) if self.random.random() < 0.5 else key
            region, referring = OTHER_REGION[previous], False
        region = ONE_REGION.get(key[:-1], region)
        grouped = most if self.random.random() < 0.5 else 1
        keys = [key] + [self.key() for _ in range(min(grouped, 3) - 1)]
        if self.random.random() < 0.4:
            keys = [k if k[-1] == key[-1] else self.flipped(k) for k in keys]
        wishes = [Wish(region, k) for k in keys if ONE_REGION.get(k[:-1], region) == region]
        names = {(wish.region, wish.name): wish for wish in wishes if (wish.region, wish.name) not in taken}
        bare = region == previous == "all" and self.random.random() < BARE
        setting = Setting(pronoun=referring and previous == region, explicit=previous != "all", bare=bare)
        return list(names.values()), setting

    def flipped(self, key: str) -> str:
        """Return the other direction of a key where there is one."""
        return opposite(key) if opposite(key) in self.keys else key

    def key(self) -> str:
        """Return a signed adjustment, the common ones more often."""
        return self.random.choices(self.keys, self.weights)[0]

    def region(self, key: str) -> str:
        """Return a region for an adjustment."""
        shares = BLUR_REGION_SHARES if key.startswith("blur") else REGION_SHARES
        return self.random.choices(vocabulary().regions, shares)[0]

    def beyond(self) -> str:
        """Return a wish that no adjustment can grant."""
        return self.writer.expand(self.random.choice(self.lexicon.beyond), {})

    def finished(self, parts: Sequence[str], edits: Sequence[Labelled], beyond: bool) -> Instruction:
        """Join the parts and dress them up."""
        text = self.joined(parts)
        if not parts or self.random.random() < 0.08:
            text = self.with_negation(text, edits)
        if parts and self.random.random() < 0.35:
            text = self.wrapped(text)
        if not text or self.random.random() < 0.13:
            text = self.with_filler(text)
        text = noisy(text, self.random, self.lexicon.spelling)
        return Instruction(text, tuple(edits), beyond, self.lexicon.language)

    def joined(self, parts: Sequence[str]) -> str:
        """Join the clauses, with commas and a last "and" or each its own way."""
        if not parts:
            return ""
        text = parts[0]
        listed = self.random.random() < 0.3
        for i, part in enumerate(parts[1:], 1):
            link = f" {self.lexicon.shells['and'][0]} " if i == len(parts) - 1 else ", "
            text += (link if listed else self.random.choice(self.lexicon.shells["join"])) + part
        return text

    def wrapped(self, text: str) -> str:
        """Return the text inside a polite or chatty frame; frames for verbs only around verbs."""
        frames = self.lexicon.shells["wrap"]
        verbal = self.lexicon.shells["wrap_verb"]
        if verbal and text.split(" ")[0] in self.lexicon.verbs and self.random.random() < 0.6:
            frames = verbal
        return self.random.choice(frames).replace("{x}", text)

    def with_filler(self, text: str) -> str:
        """Put small talk before or after the text."""
        filler = self.writer.expand(self.random.choice(self.lexicon.shells["fillers"]), {})
        if filler[-1].isalnum() and self.random.random() < 0.7:
            filler += "."
        if self.random.random() < 0.55:
            return f"{filler} {text}".strip()
        return f"{text}{self.random.choice(('. ', '. ', ', ', ' '))}{filler}"

    def with_negation(self, text: str, edits: Sequence[Labelled]) -> str:
        """Append what should stay as it is: a part of the image or a property that the edits don't name."""
        frame = self.random.choice(self.lexicon.shells["negations"])
        regions = {edit.region for edit in edits}
        free = [region for region in ("subject", "background") if region not in regions]
        names_region = any(slot in frame for slot in ("{acc}", "{nom}", "{loc}", "{gen}"))
        if names_region and ("all" in regions or not free):
            return text
        nouns = [pairs for name, pairs in self.lexicon.nouns.items() if pairs and name not in {e.name for e in edits}]
        noun, the_noun = self.random.choice(self.random.choice(nouns))
        slots = {"noun": noun, "the_noun": the_noun, "adv": "", "percent": ""}
        if names_region:
            slots |= self.writer.region_names(frame, self.random.choice(free), Setting())
        negation = self.writer.expand(frame, slots)
        return f"{text}{self.random.choice((', ', ' ', '. ', ', '))}{negation}" if text else negation
