"""Templates of clauses: what their slots stand beside, and which of them name a region.

Slots: `{acc}` `{nom}` `{loc}` `{gen}` the region in four cases, `{adv}` an adverb of strength, `{percent}` a number,
`{noun}` `{the_noun}` `{adjective}` `{complaint}` `{quality}` the words of an adjustment, `{color}` `{color_adj}`, and
`{subject}` `{thing}` `{relative}` `{object}` `{place}` `{person}` from word lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

SLOT = re.compile(r"\{(\w+)\}")
REGION_SLOTS = ("{acc}", "{nom}", "{loc}", "{gen}")
BOUND_PERCENT = re.compile(r"(?:[-+:] ?|\b(?:at|by|to|um|auf|mit|plus|minus|zu) )\{percent\}")
PLACES = {
    "too": r"(?:too|zu)\b",
    "comparative": r"\{adjective\}|\{quality\}|(?:more|less|mehr|weniger)\b",
    "after": r"$|\{loc\}|\{gen\}|\{percent\}|[^\w{]",
}
"""What follows a slot, and the adverbs or numbers that fit there."""

VERB_FIRST = re.compile(r"(?:make|mach|mache) \{acc\} (?:\{adv\} )?\{adjective\}")
ARTICLE = re.compile(r"(?:the|den|die|das|der)\s+")


@cache
def place_of(frame: str, slot: str) -> str:
    """Return where a slot stands: `bare` (a number after "by"), `too` (before "too", German "zu"), `comparative`
    (before a comparative), `before` (another word) or `after` (at the end of a clause)."""
    if slot == "{percent}" and BOUND_PERCENT.search(frame):
        return "bare"
    rest = frame.split(slot, 1)[1].strip()
    for place, pattern in PLACES.items():
        if re.match(pattern, rest):
            return "before" if slot == "{percent}" and place != "after" else place
    return "before"


@cache
def names_region(frame: str) -> bool:
    """Return whether a template has a slot for a region."""
    return any(slot in frame for slot in REGION_SLOTS)


@cache
def nameless(templates: tuple[str, ...]) -> tuple[str, ...]:
    """Return the templates that name no region."""
    return tuple(template for template in templates if "{acc}" not in template and "{nom}" not in template)


@cache
def without_percent(templates: tuple[str, ...]) -> tuple[str, ...]:
    """Return the templates without a number, or all of them where each has one."""
    return tuple(template for template in templates if "{percent}" not in template) or templates


@cache
def verbs(templates: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return (verb, rest) of the templates made of one verb and the region, as in `blur {acc}`."""
    forms: tuple[tuple[str, Callable[[str], str]], ...] = (
        (r"([^\W\d]+) \{acc\}( \{adv\})?", lambda rest: "{verb} {acc}" + rest),
        (r"\{acc\} (?:\{adv\} )?([^\W\d]+)", lambda rest: "{acc} {adv} {verb}"),
    )
    found = []
    for template in templates:
        for pattern, rebuilt in forms:
            if match := re.fullmatch(pattern, template):
                rest = match.group(2) or "" if len(match.groups()) > 1 else ""
                found.append((match.group(1), rebuilt(rest)))
    return found


def without_article(name: str) -> str:
    """Return `background` for `the background`, as in notes."""
    return ARTICLE.sub("", name, count=1)
