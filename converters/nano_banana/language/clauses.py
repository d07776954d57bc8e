"""One clause: the words for one adjustment, or for several that share region, frame and strength, with the edits
they mean. Whole instructions are composed in `grammar.py`.

Slots of a template: `{acc}` `{nom}` `{loc}` `{gen}` the region in four cases, `{adv}` an adverb of strength,
`{percent}` a number, `{noun}` `{the_noun}` `{adjective}` `{complaint}` `{quality}` the words of an adjustment,
`{color}` `{color_adj}`, and `{subject}` `{thing}` `{relative}` `{object}` `{place}` `{person}` from word lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from converters.nano_banana.language.lexicon import Lexicon
from converters.nano_banana.language.noise import made_up_word
from converters.nano_banana.vocabulary import vocabulary

STRENGTHS = {"slight": 0.25, "strong": 0.8, "max": 1.0}
STRENGTH_KINDS = ("", "slight", "strong", "max", "percent")
STRENGTH_SHARES = (0.44, 0.17, 0.15, 0.06, 0.18)
REGION_SLOTS = ("{acc}", "{nom}", "{loc}", "{gen}")
ONE_REGION = {"remove": "background", "fill": "background", "vignette": "all"}
SLOT = re.compile(r"\{(\w+)\}")
FRAMES = {"adjective": "make", "complaint": "complain", "quality": "lack"}
ROUTE_WEIGHTS = {"direct": 0.42, "make": 0.2, "complain": 0.15, "noun": 0.17, "add": 0.17, "take": 0.12, "lack": 0.08}
AND = "and"
BOUND_PERCENT = re.compile(r"(?:[-+:] ?|\b(?:at|by|to|um|auf|mit|plus|minus|zu) )\{percent\}")
PLACES = {
    "too": r"(?:too|zu)\b",
    "comparative": r"\{adjective\}|\{quality\}|(?:more|less|mehr|weniger)\b",
    "after": r"$|\{loc\}|\{gen\}|\{percent\}|[^\w{]",
}
"""What follows a slot, and the adverbs or numbers that fit there."""


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


@dataclass(frozen=True, slots=True)
class Labelled:
    """An edit that a text asks for; `amount` is signed."""

    region: str
    name: str
    amount: float
    color: str | None = None


@dataclass(frozen=True, slots=True)
class Clause:
    """Words and what they mean."""

    text: str
    edits: tuple[Labelled, ...]


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


def opposite(key: str) -> str:
    """Return the key of the other direction."""
    return key[:-1] + ("-" if key.endswith("+") else "+")


class ClauseWriter:
    """Writes clauses of one language. All randomness comes from the given generator."""

    def __init__(self, lexicon: Lexicon, random: Random) -> None:
        self.lexicon = lexicon
        self.random = random
        self._baked: dict[str, float | None] = {}
        self._baked_words = {
            kind: re.compile(rf"\b(?:{'|'.join(map(re.escape, phrases))})\b")
            for kind, phrases in lexicon.baked.items()
            if phrases
        }

    def write(self, wishes: Sequence[Wish], setting: Setting) -> Clause | None:
        """Return a clause for wishes of one region; None when the lexicon has no frame that they share."""
        common = set.intersection(*(set(self.routes(wish)) for wish in wishes))
        if len(wishes) > 1:
            common -= {"direct", "region"}
            common |= {"verbs"} if all(self.verbs(wish) for wish in wishes) else set()
        if not common:
            return None
        routes = sorted(common)
        weights = [ROUTE_WEIGHTS.get(route, 0.3) for route in routes]
        route = self.random.choices(routes, weights)[0]
        frame, words = self.frame(route, wishes, setting.bare)
        return self.filled(frame, words, wishes, setting)

    def brief(self, wish: Wish) -> Clause:
        """Return a wish for the whole image in a word or two: an adjective, or more or less of a noun."""
        words = self.lexicon.adjust.get(wish.key, {}).get("adjective")
        if words and (not self.lexicon.nouns.get(wish.name) or self.random.random() < 0.6):
            return self.filled("{adv} {adjective}", {"adjective": self.random.choice(words)}, [wish], Setting())
        noun = self.random.choice(self.lexicon.nouns[wish.name])[0]
        return self.filled(f"{{adv}} {self.lexicon.amounts[wish.sign > 0]} {{noun}}", {"noun": noun}, [wish], Setting())

    def routes(self, wish: Wish) -> list[str]:
        """Return the kinds of phrase the lexicon has for a wish."""
        entry = self.lexicon.adjust.get(wish.key, {})
        shells = self.lexicon.shells
        found = ["direct"] if entry.get("direct") else []
        found += [FRAMES[kind] for kind in FRAMES if entry.get(kind) and shells[FRAMES[kind]]]
        if self.lexicon.nouns.get(wish.name):
            found.append("noun+" if wish.sign > 0 else "noun-")
        if self.lexicon.effects.get(wish.name):
            found += ["add"] if wish.sign > 0 else ["take"]
        if entry.get(f"direct_{wish.region}"):
            found.append("region")
        return found

    def verbs(self, wish: Wish) -> list[tuple[str, str]]:
        """Return (verb, rest) of the direct templates made of one verb and the region, as in `blur {acc}`."""
        return _verbs(tuple(self.lexicon.adjust.get(wish.key, {}).get("direct", ())))

    def frame(self, route: str, wishes: Sequence[Wish], bare: bool) -> tuple[str, dict[str, str]]:
        """Return a template and the words of the adjustments for it."""
        pick, lexicon = self.random.choice, self.lexicon

        def shell(templates: Sequence[str]) -> str:
            nameless = _nameless(tuple(templates)) if bare else ()
            return pick(nameless or templates)

        if route == "direct":
            return shell(lexicon.adjust[wishes[0].key]["direct"]), {}
        if route == "region":
            return pick(lexicon.adjust[wishes[0].key][f"direct_{wishes[0].region}"]), {}
        if route == "verbs":
            chosen = [pick(self.verbs(wish)) for wish in wishes]
            return chosen[0][1].replace("{verb}", self.listed([verb for verb, _ in chosen])), {}
        if route in FRAMES.values():
            kind = next(kind for kind, frame in FRAMES.items() if frame == route)
            chosen_words = [pick(lexicon.adjust[wish.key][kind]) for wish in wishes]
            return shell(lexicon.shells[route]), {kind: self.listed(chosen_words)}
        lists = lexicon.nouns if route.startswith("noun") else lexicon.effects
        pairs = [pick(lists[wish.name]) for wish in wishes]
        words = {"noun": self.listed([p[0] for p in pairs]), "the_noun": self.listed([p[1] for p in pairs])}
        name = {"noun+": "up", "noun-": "down"}.get(route, route)
        return shell(lexicon.shells[name]), words

    def listed(self, words: Sequence[str]) -> str:
        """Join words as in `a, b and c`."""
        last = f" {self.random.choice(self.lexicon.shells[AND])} ".join(words[-2:])
        return ", ".join([*words[:-2], last])

    def filled(self, frame: str, words: dict[str, str], wishes: Sequence[Wish], setting: Setting) -> Clause:
        """Fill a template with words, region and strength."""
        region, random = wishes[0].region, self.random
        adverb, percent, strength = self.strength(frame)
        names = self.region_names(frame, region, setting)
        color = random.choice(list(vocabulary().colors)) if "{color" in frame else None
        shades = {slot: random.choice(shades[color]) for slot, shades in self.lexicon.color_words.items() if color}
        slots = {**words, **names, **shades, "adv": adverb, "percent": percent}
        text = self.expand(frame, slots)
        free = not any(slot in frame for slot in (*REGION_SLOTS, "{subject}"))
        if free and region != "all" and wishes[0].name not in ONE_REGION and not self.is_region_bound(frame, wishes):
            text = self.placed(text, self.expand(random.choice(self.lexicon.regions[region]["loc"]), {}))
        edits = tuple(self.edit(wish, strength, color) for wish in wishes)
        return Clause(text, edits)

    def is_region_bound(self, frame: str, wishes: Sequence[Wish]) -> bool:
        """Return whether the template says its region by itself."""
        entry = self.lexicon.adjust.get(wishes[0].key, {})
        return frame in entry.get(f"direct_{wishes[0].region}", ())

    def placed(self, text: str, place: str) -> str:
        """Put `in the background` behind the clause, sometimes before it."""
        return f"{place} {text}" if self.random.random() < 0.15 else f"{text} {place}"

    def edit(self, wish: Wish, strength: float | None, color: str | None) -> Labelled:
        """Return the label of a wish; without a strength it is the vocabulary's default."""
        amount = vocabulary().adjustment(wish.name).default if strength is None else strength
        chosen = (color or "white") if wish.name == "fill" else None
        return Labelled(wish.region, wish.name, wish.sign * amount, chosen)

    def region_names(self, frame: str, region: str, setting: Setting) -> dict[str, str]:
        """Return the words for the region slots: one slot names a part of the image, the others stay empty."""
        names = {slot: self.region_name(region, slot, setting) for slot in ("acc", "nom", "loc", "gen")}
        if region == "all":
            return names
        if "{acc}" in frame or "{nom}" in frame:
            return {**names, "loc": "", "gen": ""}
        return {**names, "loc": ""} if "{gen}" in frame else names

    def region_name(self, region: str, case: str, setting: Setting) -> str:
        """Return a name of the region in a grammatical case."""
        if setting.bare and case in ("loc", "gen"):
            return ""
        names, pronouns = self.lexicon.regions[region][case], self.lexicon.pronouns
        if setting.pronoun and case == "acc" and pronouns.get(region):
            return self.random.choice(pronouns[region])
        if setting.explicit and region == "all":
            names = [name for name in names if name and name not in pronouns.get("all", ())] or names
        return self.random.choice(names)

    def strength(self, frame: str) -> tuple[str, str, float | None]:
        """Return adverb, percentage and the strength they mean (None: the default) for a template."""
        kind = self.random.choices(STRENGTH_KINDS, STRENGTH_SHARES)[0]
        if "{percent}" in frame and (BOUND_PERCENT.search(frame) or self.random.random() < 0.5):
            text, share = self.percentage(_place(frame, "{percent}"))
            return "", text, share
        place = _place(frame, "{adv}") if "{adv}" in frame else None
        if kind == "percent" and place not in (None, "too"):
            text, share = self.percentage("after" if place == "after" else "before")
            return text, "", share
        if kind in STRENGTHS and place is not None:
            return self.random.choice(self.lexicon.adverbs[place][kind]), "", STRENGTHS[kind]
        return "", "", self.baked(frame)

    def percentage(self, place: str) -> tuple[str, float]:
        """Return a number in words of the language and its share, 0..1; `place` says what stands around it."""
        if place == "after" and self.random.random() < 0.15:
            return self.random.choice(list(self.lexicon.fractions.items()))
        number = self.random.choice((self.random.randint(1, 20) * 5, self.random.randint(1, 10) * 10))
        number = self.random.randint(3, 100) if self.random.random() < 0.15 else number
        return self.random.choice(self.lexicon.numbers[place]).format(n=number), number / 100

    def baked(self, frame: str) -> float | None:
        """Return the strength that the template's own words mean, as in `looks a bit {complaint}`."""
        if frame not in self._baked:
            found = [kind for kind, words in self._baked_words.items() if words.search(frame)]
            self._baked[frame] = STRENGTHS[found[0]] if found else None
        return self._baked[frame]

    def expand(self, template: str, slots: dict[str, str]) -> str:
        """Fill all slots, those of region names inside region names too, and tidy the spaces."""
        for _ in range(4):
            if "{" not in template:
                break
            template = SLOT.sub(lambda match: self.slot(match.group(1), slots), template)
        text = " ".join(template.split())
        return re.sub(r"\s+([,.!?:])", r"\1", text).strip(" ,")

    def slot(self, name: str, slots: dict[str, str]) -> str:
        """Return the words for one slot."""
        if name in slots:
            return slots[name]
        if name == "subject":
            return self.random.choice(self.lexicon.regions["subject"]["acc"])
        if self.random.random() < 0.06 and name in ("thing", "object"):
            return made_up_word(self.random)
        return self.random.choice(self.lexicon.words[name])


def _place(frame: str, slot: str) -> str:
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
def _nameless(templates: tuple[str, ...]) -> tuple[str, ...]:
    """Return the templates that name no region."""
    return tuple(template for template in templates if "{acc}" not in template and "{nom}" not in template)


@cache
def _verbs(templates: tuple[str, ...]) -> list[tuple[str, str]]:
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
