"""The noise of hurried typing: swapped and missing letters, umlauts written as ae or a, lost capitals and
punctuation, British and American spelling. Digits are never touched, because they carry the amount."""

from __future__ import annotations

import re
from random import Random

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURS = {letter: row[max(i - 1, 0) : i] + row[i + 1 : i + 2] for row in ROWS for i, letter in enumerate(row)}
LONG = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})
DROPPED = str.maketrans({"ä": "a", "ö": "o", "ü": "u", "ß": "ss", "Ä": "A", "Ö": "O", "Ü": "U"})
PUNCTUATION = re.compile(r"(?<!\d)[,.!?;:]+(?!\d)|[,.!?;:]+(?=\s|$)")
SYLLABLES = ("bla", "ko", "rin", "tes", "mu", "vor", "zel", "pa", "gri", "lon", "du", "sche", "ti", "ker", "no", "wa")


def noisy(text: str, random: Random, spelling: list[list[str]]) -> str:
    """Return the text as somebody in a hurry might type it; often unchanged."""
    text = respelled(text, random, spelling)
    if random.random() < 0.2:
        text = text.translate(LONG if random.random() < 0.6 else DROPPED)
    if random.random() < 0.15:
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            text = with_typo(text, random)
    if random.random() < 0.15:
        text = " ".join(PUNCTUATION.sub(" ", text).split())
    return cased(text, random)


def respelled(text: str, random: Random, spelling: list[list[str]]) -> str:
    """Replace one spelling by the other, for half of the texts."""
    if random.random() < 0.5:
        for one, other in spelling:
            text = text.replace(one, other)
    return text


def cased(text: str, random: Random) -> str:
    """Return the text as it is, in lower case, with a capital first letter or shouted."""
    draw = random.random()
    if draw < 0.35:
        return text.lower()
    if draw < 0.75:
        return text[:1].upper() + text[1:]
    return text.upper() if draw > 0.98 else text


def with_typo(text: str, random: Random) -> str:
    """Return the text with one letter swapped, dropped, doubled, or replaced by its neighbour on the keyboard."""
    places = [i for i, letter in enumerate(text[:-1]) if letter.isalpha() and text[i + 1].isalpha()]
    if not places:
        return text
    i = random.choice(places)
    kind = random.randrange(4)
    if kind == 0:
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    if kind == 1:
        return text[:i] + text[i + 1 :]
    if kind == 2:
        return text[:i] + text[i] + text[i:]
    return text[:i] + random.choice(NEIGHBOURS.get(text[i].lower()) or text[i]) + text[i + 1 :]


def made_up_word(random: Random) -> str:
    """Return a word that no lexicon has, so that unknown things are seen in training too."""
    return "".join(random.choice(SYLLABLES) for _ in range(random.choice((2, 2, 3))))
