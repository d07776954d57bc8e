"""What an instruction can ask for, as data: wishes, the edits that label them, clauses and how they stand. What an
adjustment allows is read from the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from converters.nano_banana.vocabulary import vocabulary


@dataclass(frozen=True, slots=True)
class Wish:
    """What a clause should say: a region and a signed adjustment such as `exposure+`."""

    region: str
    key: str

    @property
    def name(self) -> str:
        """Return the adjustment's name."""
        return self.key[:-1]

    @property
    def sign(self) -> int:
        """Return 1 or -1."""
        return 1 if self.key.endswith("+") else -1

    @property
    def cell(self) -> tuple[str, str]:
        """Return (region, adjustment)."""
        return self.region, self.name


@dataclass(frozen=True, slots=True)
class Labelled:
    """An edit that a text asks for; `amount` is signed."""

    region: str
    name: str
    amount: float
    color: str | None = None


@dataclass(frozen=True, slots=True)
class Clause:
    """Words and what they mean. `beyond`: they ask for more than the edits can do. `continues`: after a plain "and"
    they would belong to the clause before, as adjectives do in "the background darker and warmer"; after one that is
    `open`, which ends in an adjective itself, even after a comma."""

    text: str
    edits: tuple[Labelled, ...] = ()
    beyond: bool = False
    continues: bool = False
    open: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """How a clause stands in its instruction: `pronoun` refers to the region named before, `explicit` names the
    whole image because another region was named before, `bare` doesn't name it at all ("a bit warmer, ...")."""

    pronoun: bool = False
    explicit: bool = False
    bare: bool = False


@cache
def signed_keys() -> tuple[str, ...]:
    """Return `exposure+`, `exposure-`, ... for every direction the vocabulary allows."""
    adjustments = vocabulary().adjustments
    return tuple(a.name + sign for a in adjustments for sign in ("+-" if a.low < 0 else "+"))


@cache
def regions_of(name: str) -> tuple[str, ...]:
    """Return the regions an adjustment can be applied to."""
    return vocabulary().adjustment(name).regions


@cache
def only_region(name: str) -> str | None:
    """Return the region of an adjustment that has a single one: its phrases needn't name it."""
    regions = regions_of(name)
    return regions[0] if len(regions) == 1 else None


def opposite(key: str) -> str:
    """Return the key of the other direction."""
    return key[:-1] + ("-" if key.endswith("+") else "+")
