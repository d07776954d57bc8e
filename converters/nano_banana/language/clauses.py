"""One clause: the words for one adjustment, or for several that share region, frame and strength, with the edits
they mean. Whole instructions are composed in `grammar.py`; the slots of templates are described in `templates.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from converters.nano_banana.language.lexicon import Lexicon
from converters.nano_banana.language.noise import made_up_word
from converters.nano_banana.language.templates import (
    BOUND_PERCENT,
    REGION_SLOTS,
    SLOT,
    VERB_FIRST,
    nameless,
    names_region,
    place_of,
    verbs,
    without_article,
    without_percent,
)
from converters.nano_banana.language.wishes import Clause, Labelled, Setting, Wish, only_region
from converters.nano_banana.vocabulary import vocabulary

STRENGTHS = {"slight": 0.25, "strong": 0.8, "max": 1.0}
STRENGTH_KINDS = ("", "slight", "strong", "max", "percent")
STRENGTH_SHARES = (0.44, 0.17, 0.15, 0.06, 0.18)
FIXED = {**STRENGTHS, "quarter": 0.5, "half": 1.0}
"""What `direct_slight`, ..., `direct_half` mean; quarter and half are turns of the picture."""

UNGRADED = frozenset({"rotate", "flip_horizontal", "flip_vertical", "upscale", "inpaint"})
"""Adjustments that have no "a bit"."""

UNMEASURED = UNGRADED | {"auto_enhance", "auto_exposure", "auto_white_balance", "auto_contrast", "repair"}
"""Adjustments that nobody gives a percentage for."""

NAMED_PARTS = frozenset({"crop"})
"""Adjustments of a part of the image that only phrases of their own mean: "crop to the subject"."""

FRAMES = {"adjective": "make", "complaint": "complain", "quality": "lack"}
ROUTE_WEIGHTS = {"direct": 0.42, "make": 0.2, "complain": 0.15, "noun": 0.17, "add": 0.17, "take": 0.12, "lack": 0.08,
                 "verbs": 0.12, "slight": 0.03, "strong": 0.03, "max": 0.015}  # fmt: skip
OWN_ADVERB = 0.4
"""How often a further adjective has a strength of its own, as in "darker and a bit warmer"."""

NAMED_NOTE, CUSTOMARY = 0.2, 0.35
"""How often a note says that it is about the whole image, and how often it takes one of the first three words."""

AND = "and"


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
            common -= {"direct", "region", *FIXED}
            common |= {"verbs"} if all(self.verbs(wish) for wish in wishes) else set()
        if not common:
            return None
        routes = sorted(common)
        route = self.random.choices(routes, [ROUTE_WEIGHTS.get(route, 0.3) for route in routes])[0]
        frame, words, strengths = self.frame(route, wishes, setting.bare)
        named = not setting.bare or any(slot in frame for slot in ("{acc}", "{nom}"))
        starts_anew = route in ("noun+", "noun-", "add", "take") or frame.split(" ")[0] in self.lexicon.verbs
        return self.filled(frame, words, wishes, setting, strengths, continues=not (named or starts_anew))

    def brief(self, wish: Wish) -> Clause:
        """Return a wish in a word or two, as in a note: an adjective, an effect, or more or less of a noun."""
        nouns = self.lexicon.nouns.get(wish.name)
        effects = self.lexicon.effects.get(wish.name) if wish.sign > 0 else None
        if self.adjectives(wish) and (not (nouns or effects) or self.random.random() < 0.6):
            named = wish.region != "all" or self.random.random() < NAMED_NOTE
            return self.described("{acc} {adv} {adjective}" if named else "{adv} {adjective}", wish)
        setting = Setting(bare=wish.region == "all")
        if nouns and (not effects or self.random.random() < 0.7):
            frame = f"{{adv}} {self.lexicon.amounts[wish.sign > 0]} {{noun}} {{loc}}"
            return self.filled(frame, {"noun": self.random.choice(nouns)[0]}, [wish], setting)
        noun = self.random.choice(effects or [[""]])[0]
        return self.filled("{noun} {loc}", {"noun": noun}, [wish], setting)

    def described(self, frame: str, wish: Wish, *, noted: bool = True) -> Clause:
        """Return a template of an adjective filled, as a note often without the articles."""
        chosen = {"adjective": self.customary(self.adjectives(wish))}
        continues = "{acc}" not in frame
        return self.filled(frame, chosen, [wish], Setting(explicit=True), continues=continues, noted=noted)

    def adjectives(self, wish: Wish) -> list[str]:
        """Return the adjectives of a wish, none where the frames with adjectives aren't for it."""
        return self.lexicon.adjust.get(wish.key, {}).get("adjective", []) if "make" in self.routes(wish) else []

    def customary(self, words: Sequence[str]) -> str:
        """Return one of the words; lists begin with those that people use most."""
        return self.random.choice(words[:3] if self.random.random() < CUSTOMARY else words)

    def gapped(self, wishes: Sequence[Wish]) -> list[Clause]:
        """Return clauses that share the verb of the first: "make it brighter and the background darker"."""
        shells = [shell for shell in self.lexicon.shells["make"] if VERB_FIRST.fullmatch(shell)]
        chosen = {"adjective": self.customary(self.adjectives(wishes[0]))}
        first = self.filled(self.random.choice(shells), chosen, wishes[:1], Setting())
        return [first] + [self.described("{acc} {adv} {adjective}", wish, noted=False) for wish in wishes[1:]]

    def is_brief(self, wish: Wish) -> bool:
        """Return whether a wish can be said in a word or two."""
        return bool({"make", "noun+", "noun-", "add"} & {*self.routes(wish)})

    def routes(self, wish: Wish) -> list[str]:
        """Return the kinds of phrase the lexicon has for a wish."""
        entry = self.lexicon.adjust.get(wish.key, {})
        found = ["region"] if entry.get(f"direct_{wish.region}") else []
        if wish.region != "all" and wish.name in NAMED_PARTS:
            return found
        shells = self.lexicon.shells
        found += ["direct"] if entry.get("direct") else []
        found += [kind for kind in FIXED if entry.get(f"direct_{kind}")]
        found += [FRAMES[kind] for kind in FRAMES if entry.get(kind) and shells[FRAMES[kind]]]
        if self.lexicon.nouns.get(wish.name):
            found.append("noun+" if wish.sign > 0 else "noun-")
        if self.lexicon.effects.get(wish.name):
            found += ["add"] if wish.sign > 0 else ["take"]
        return found

    def verbs(self, wish: Wish) -> list[tuple[str, str]]:
        """Return (verb, rest) of the direct templates made of one verb and the region, as in `blur {acc}`."""
        return verbs(tuple(self.lexicon.adjust.get(wish.key, {}).get("direct", ())))

    def frame(
        self, route: str, wishes: Sequence[Wish], bare: bool
    ) -> tuple[str, dict[str, str], dict[int, float | None]]:
        """Return a template, the words of the adjustments for it and the strengths that single words have."""
        pick, lexicon, first = self.random.choice, self.lexicon, wishes[0]
        unmeasured = any(self.is_unmeasured(wish) for wish in wishes)

        def shell(templates: Sequence[str]) -> str:
            kept = (bare and nameless(tuple(templates))) or tuple(templates)
            return pick(without_percent(kept) if unmeasured else kept)

        if route == "direct":
            return shell(lexicon.adjust[first.key]["direct"]), {}, {}
        if route == "region":
            return pick(lexicon.adjust[first.key][f"direct_{first.region}"]), {}, {}
        if route in FIXED:
            said = shell(lexicon.adjust[first.key][f"direct_{route}"])
            return said.replace("{adv}", "").replace("{percent}", ""), {}, {0: FIXED[route]}
        if route == "verbs":
            chosen = [pick(self.verbs(wish)) for wish in wishes]
            return chosen[0][1].replace("{verb}", self.listed([verb for verb, _ in chosen])), {}, {}
        if route in FRAMES.values():
            kind = next(kind for kind, frame in FRAMES.items() if frame == route)
            chosen_words = [pick(lexicon.adjust[wish.key][kind]) for wish in wishes]
            template = shell(lexicon.shells[route])
            strengths = self.own_adverbs(chosen_words, wishes) if "{adv} {adjective}" in template else {}
            return template, {kind: self.listed(chosen_words)}, strengths
        lists = lexicon.nouns if route.startswith("noun") else lexicon.effects
        pairs = [pick(lists[wish.name]) for wish in wishes]
        words = {"noun": self.listed([p[0] for p in pairs]), "the_noun": self.listed([p[1] for p in pairs])}
        return shell(lexicon.shells[{"noun+": "up", "noun-": "down"}.get(route, route)]), words, {}

    def own_adverbs(self, adjectives: list[str], wishes: Sequence[Wish]) -> dict[int, float | None]:
        """Put adverbs before some adjectives but the first, in place; return the strengths that these then have."""
        strengths: dict[int, float | None] = {}
        for i in range(1, len(adjectives)):
            if self.random.random() < OWN_ADVERB:
                adverb, percent, strengths[i] = self.strength("{adv} {adjective}", wishes[i : i + 1])
                adjectives[i] = f"{adverb or percent} {adjectives[i]}".strip()
        return strengths

    def listed(self, words: Sequence[str]) -> str:
        """Join words as in `a, b and c`."""
        last = f" {self.random.choice(self.lexicon.shells[AND])} ".join(words[-2:])
        return ", ".join([*words[:-2], last])

    def filled(
        self,
        frame: str,
        words: dict[str, str],
        wishes: Sequence[Wish],
        setting: Setting,
        strengths: dict[int, float | None] | None = None,
        *,
        continues: bool = False,
        noted: bool = False,
    ) -> Clause:
        """Fill a template with words, region and strength; `strengths` are those of single wishes, `noted` leaves
        articles out."""
        region, random, own = wishes[0].region, self.random, strengths or {}
        adverb, percent, strength = self.strength(frame, wishes)
        names = self.region_names(frame, region, setting)
        if noted and random.random() < 0.7:
            names["acc"] = without_article(names["acc"])
        color = random.choice(list(vocabulary().colors)) if "{color" in frame else None
        shades = {slot: random.choice(shades[color]) for slot, shades in self.lexicon.color_words.items() if color}
        slots = {**words, **names, **shades, "adv": adverb, "percent": percent}
        text = self.expand(frame, slots)
        if region != "all" and not self.is_region_bound(frame, wishes[0]):
            text = self.placed(text, self.expand(random.choice(self.lexicon.regions[region]["loc"]), {}))
        edits = tuple(self.edit(wish, own.get(i, strength), color) for i, wish in enumerate(wishes))
        return Clause(text, edits, continues=continues, open=any(f"{{{kind}}}" in frame for kind in FRAMES))

    def is_region_bound(self, frame: str, wish: Wish) -> bool:
        """Return whether the template says its region, or needn't."""
        if names_region(frame) or "{subject}" in frame or only_region(wish.name):
            return True
        return frame in self.lexicon.adjust.get(wish.key, {}).get(f"direct_{wish.region}", ())

    def is_unmeasured(self, wish: Wish) -> bool:
        """Return whether a percentage would make no sense."""
        return wish.name in UNMEASURED or (wish.name in NAMED_PARTS and wish.region != "all")

    def placed(self, text: str, place: str) -> str:
        """Put `in the background` behind the clause, sometimes before it."""
        return f"{place} {text}" if self.random.random() < 0.15 else f"{text} {place}"

    def edit(self, wish: Wish, strength: float | None, color: str | None) -> Labelled:
        """Return the label of a wish; without a strength it is the vocabulary's default."""
        adjustment = vocabulary().adjustment(wish.name)
        amount = adjustment.default if strength is None else strength
        chosen = (color or "white") if adjustment.takes_color else None
        return Labelled(wish.region, wish.name, wish.sign * amount, chosen)

    def region_names(self, frame: str, region: str, setting: Setting) -> dict[str, str]:
        """Return the words for the region slots: one slot names a part of the image, the others stay empty."""
        cases = {slot[1:-1]: slot in frame for slot in REGION_SLOTS}
        names = {case: self.region_name(region, case, setting) if used else "" for case, used in cases.items()}
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

    def strength(self, frame: str, wishes: Sequence[Wish]) -> tuple[str, str, float | None]:
        """Return adverb, percentage and the strength they mean (None: the default) for a template."""
        if wishes[0].name in UNGRADED:
            return "", "", None
        measured = not any(self.is_unmeasured(wish) for wish in wishes)
        kind = self.random.choices(STRENGTH_KINDS, STRENGTH_SHARES)[0]
        if "{percent}" in frame and measured and (BOUND_PERCENT.search(frame) or self.random.random() < 0.5):
            text, share = self.percentage(place_of(frame, "{percent}"))
            return "", text, share
        place = place_of(frame, "{adv}") if "{adv}" in frame else None
        if kind == "percent" and measured and place not in (None, "too"):
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
