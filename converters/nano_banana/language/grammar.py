"""Whole instructions with the plan they ask for: one to five adjustments, joined, wrapped in politeness, mixed with
small talk, with clauses that must change nothing, objects to be erased and wishes beyond the vocabulary."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from random import Random

from converters.nano_banana.language.choice import WishChooser
from converters.nano_banana.language.clauses import AND, ClauseWriter
from converters.nano_banana.language.lexicon import Lexicon
from converters.nano_banana.language.noise import noisy
from converters.nano_banana.language.templates import names_region
from converters.nano_banana.language.wishes import Clause, Labelled, Setting, Wish

COUNTS = (1, 2, 3, 4, 5)
COUNT_SHARES = (0.4, 0.32, 0.17, 0.08, 0.03)
SIMPLE_SHARES = (0.8, 0.2, 0.0, 0.0, 0.0)
"""How often an instruction has so many edits; the simple shares are for the first part of a training."""

NOTES_FIRST, NOTES_LAST, NOTES_ONLY, GAPPED, PAIRED = 0.23, 0.18, 0.16, 0.09, 0.09
"""How often several edits are said as notes: "a bit warmer, more contrast, ..." for the whole image before or after
what names a region, or all of them as in "background darker, person brighter, sepia"; how
often they share one verb: "make it brighter and the background darker"; and how often the whole image and a part of
it get the same or the opposite: "brighter, but darken the background"."""

ONLY_BEYOND, ONLY_ERASING, ALSO_BEYOND, ALSO_ERASING, NOTHING = 0.1, 0.09, 0.05, 0.03, 0.025
APART = (",", ".", ";", "\n", "/", "–", "-")
ENDS = (".", ";", "\n")
"""What a join begins with that ends the clause before, and the sentence."""

RUN_ON, LISTED, PLAIN = 0.1, 0.27, 0.34
"""How often clauses are joined by nothing at all, by commas and a last "and", and by one or the other each."""

NEGATED, NEGATED_FIRST = 0.1, 0.25
"""How often something is said to stay as it is, and how often before the wishes: "not brighter, just warmer"."""

PLAIN_PROPERTIES = frozenset({"exposure", "contrast", "saturation", "warmth", "sharpen", "blur"})
"""What people mostly don't want besides."""

ERASED = Labelled("masked", "inpaint", 1.0)


@dataclass(frozen=True, slots=True)
class Instruction:
    """A text, the edits it asks for and whether it asks for more than the vocabulary has."""

    text: str
    edits: tuple[Labelled, ...]
    beyond: bool
    language: str

    @property
    def is_single(self) -> bool:
        """Return whether it asks for at most one thing; to erase an object is one edit, and beyond."""
        return len(self.edits) + (self.beyond and ERASED not in self.edits) <= 1


class Grammar:
    """Draws instructions of one language from a lexicon, reproducibly for a seed."""

    def __init__(self, lexicon: Lexicon, seed: int, shares: Sequence[float] = COUNT_SHARES) -> None:
        self.lexicon = lexicon
        self.shares = shares
        self.random = Random(seed)
        self.writer = ClauseWriter(lexicon, self.random)
        self.chooser = WishChooser(self.writer, self.random)
        joins = lexicon.shells["join"]
        self.apart = [join for join in joins if join.lstrip(" ").startswith(APART)] or [", "]
        self.ends = [join for join in joins if join.lstrip(" ").startswith(ENDS)] or [". "]

    def draw(self) -> Instruction:
        """Return one instruction."""
        kind = self.random.random()
        if kind < NOTHING:
            return self.finished([])
        if kind < NOTHING + ONLY_BEYOND:
            return self.finished([self.beyond() for _ in range(self.random.choice((1, 1, 1, 2)))])
        if kind < NOTHING + ONLY_BEYOND + ONLY_ERASING and self.lexicon.erase:
            return self.finished([self.erasing() for _ in range(self.random.choice((1, 1, 1, 1, 2)))])
        clauses = self.clauses(self.random.choices(COUNTS, self.shares)[0])
        if self.random.random() < ALSO_BEYOND:
            clauses.insert(self.random.randint(0, len(clauses)), self.beyond())
        if self.random.random() < ALSO_ERASING and self.lexicon.erase and not _erases(clauses):
            clauses.insert(self.random.randint(0, len(clauses)), self.erasing())
        return self.finished(clauses)

    def clauses(self, count: int) -> list[Clause]:
        """Return clauses for `count` different adjustments."""
        clauses: list[Clause] = []
        taken: set[tuple[str, str]] = set()
        style = self.random.random() if count > 1 else 1.0
        if style < NOTES_ONLY:
            return self.notes(self.chooser.notes(count, None, taken))
        if style < NOTES_ONLY + NOTES_FIRST:
            first = self.chooser.notes(self.random.randint(1, count - 1), "all", taken)
            return self.spoken(count, self.notes(first), {wish.cell for wish in first}, first[-1])
        if style < NOTES_ONLY + NOTES_FIRST + NOTES_LAST:
            clauses = self.spoken(self.random.randint(1, count - 1), clauses, taken, Wish("all", ""))
            last = clauses[-1].edits[0]
            like = Wish(last.region, last.name + ("+" if last.amount > 0 else "-"))
            return clauses + self.notes(self.chooser.notes(count - len(taken), "all", taken, like))
        if style > 1 - GAPPED and count > 1:
            return self.writer.gapped(self.chooser.described(count))
        if style > 1 - GAPPED - PAIRED and count > 1 and self.chooser.paired:
            whole, part = self.chooser.pair()
            return self.spoken(count, self.paired(whole, part), {whole.cell, part.cell}, part)
        return self.spoken(count, clauses, taken, Wish("all", ""))

    def paired(self, whole: Wish, part: Wish) -> list[Clause]:
        """Return a clause about the whole image and one about a part of it, in either order."""
        reverse = self.random.random() < 0.4
        of_whole = self.writer.write([whole], Setting(explicit=reverse)) if self.random.random() < 0.5 else None
        of_part = self.writer.write([part], Setting()) if self.random.random() < 0.7 else None
        clauses = [of_whole or self.writer.brief(whole), of_part or self.writer.brief(part)]
        return clauses[::-1] if reverse else clauses

    def notes(self, wishes: Sequence[Wish]) -> list[Clause]:
        """Return clauses of a word or two."""
        return [self.writer.brief(wish) for wish in wishes]

    def spoken(self, count: int, clauses: list[Clause], taken: set[tuple[str, str]], last: Wish) -> list[Clause]:
        """Return `clauses` and further ones until `count` adjustments are asked for; `taken` follows."""
        while len(taken) < count:
            wishes, setting = self.chooser.wishes(count - len(taken), last, taken)
            if not wishes:
                continue
            clause = self.writer.write(wishes, setting) or self.writer.write(wishes[:1], setting)
            if clause is None:
                continue
            clauses.append(clause)
            taken |= {(edit.region, edit.name) for edit in clause.edits}
            last = wishes[0]
        return clauses

    def beyond(self) -> Clause:
        """Return a wish that no adjustment can grant."""
        return Clause(self.writer.expand(self.random.choice(self.lexicon.beyond), {}), beyond=True)

    def erasing(self) -> Clause:
        """Return a wish that an object is taken out: an edit where it is painted over, beyond where it isn't."""
        text = self.writer.expand(self.random.choice(self.lexicon.erase), {})
        return Clause(text, (ERASED,), beyond=True)

    def finished(self, clauses: Sequence[Clause]) -> Instruction:
        """Join the clauses and dress them up."""
        edits = tuple(dict.fromkeys(edit for clause in clauses for edit in clause.edits))
        text = self.joined(clauses)
        if not clauses or self.random.random() < NEGATED:
            text = self.with_negation(text, edits)
        if clauses and self.random.random() < 0.35:
            text = self.wrapped(text)
        if not text or self.random.random() < 0.13:
            text = self.with_filler(text)
        text = noisy(text, self.random, self.lexicon.spelling)
        return Instruction(text, edits, any(clause.beyond for clause in clauses), self.lexicon.language)

    def joined(self, clauses: Sequence[Clause]) -> str:
        """Join the clauses, with commas and a last "and", each its own way, or without anything between them."""
        if not clauses:
            return ""
        text = clauses[0].text
        style = self.random.random()
        for i, clause in enumerate(clauses[1:], 1):
            text += self.link(clauses[i - 1], clause, style, last=i == len(clauses) - 1) + clause.text
        return text

    def link(self, before: Clause, clause: Clause, style: float, *, last: bool) -> str:
        """Return what stands between two clauses: less than a comma, or than a full stop, would give a wish for the
        whole image to the part of it that the clause before is about."""
        apart = clause.continues and any(edit.region != "all" for edit in before.edits)
        if apart and before.open:
            return self.random.choice(self.ends)
        if style < RUN_ON and not apart:
            return " "
        conjunction = f" {self.lexicon.shells[AND][0]} " if not apart else ", "
        if style < RUN_ON + LISTED:
            return conjunction if last else ", "
        if style < RUN_ON + LISTED + PLAIN:
            return self.random.choice((", ", ", ", conjunction, ". "))
        return self.random.choice(self.apart if apart else self.lexicon.shells["join"])

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
        """Say what should stay as it is, mostly at the end: a part of the image or a property that the edits don't
        name, or what the image shouldn't become."""
        first = bool(text) and self.random.random() < NEGATED_FIRST
        frame = self.random.choice(self.lexicon.shells["negations_first" if first else "negations"])
        regions = {edit.region for edit in edits}
        free = [region for region in ("subject", "background") if region not in regions]
        if names_region(frame) and ("all" in regions or not free):
            return text
        named = {edit.name for edit in edits}
        nouns = [pairs for name, pairs in self.lexicon.nouns.items() if pairs and name not in named]
        if not nouns:
            return text
        adjective = self.unwanted(named)
        if "{adjective}" in frame and not adjective:
            return text
        noun, the_noun = self.random.choice(self.random.choice(nouns))
        slots = {"noun": noun, "the_noun": the_noun, "adv": "", "percent": "", "adjective": adjective}
        if names_region(frame):
            slots |= self.writer.region_names(frame, self.random.choice(free), Setting())
        negation = self.writer.expand(frame, slots)
        if first:
            comma = "," if frame.endswith(",") else ""  # which the tidying took
            return f"{negation}{comma} {text}"
        return f"{text}{self.random.choice((', ', ' ', '. ', ', '))}{negation}" if text else negation

    def unwanted(self, named: Container[str]) -> str:
        """Return what an image may become by an adjustment that isn't named, "brighter"; "" if the lexicon has none."""
        free = [Wish("all", key) for key in self.lexicon.adjust if key[:-1] not in named]
        plain = [wish for wish in free if wish.name in PLAIN_PROPERTIES] if self.random.random() < 0.6 else []
        for wishes in (plain, free):
            if said := [words for wish in wishes if (words := self.writer.adjectives(wish))]:
                return self.writer.customary(self.random.choice(said))
        return ""


def _erases(clauses: Sequence[Clause]) -> bool:
    """Return whether something is erased already."""
    return any(edit.name == ERASED.name for clause in clauses for edit in clause.edits)
