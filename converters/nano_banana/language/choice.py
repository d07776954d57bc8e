"""What to ask for: which adjustments, how often, on which regions, and which of them together."""

from __future__ import annotations

from itertools import accumulate
from random import Random

from converters.nano_banana.language.clauses import UNGRADED, ClauseWriter
from converters.nano_banana.language.wishes import Setting, Wish, opposite, regions_of, signed_keys
from converters.nano_banana.vocabulary import vocabulary

KEY_WEIGHTS = {
    "exposure+": 2.6, "exposure-": 2.1, "saturation+": 1.9, "saturation-": 1.8, "warmth+": 2.1, "warmth-": 1.9,
    "blur+": 2.0, "remove+": 1.4, "fill+": 1.8, "contrast+": 1.8, "contrast-": 1.2, "sharpen+": 1.5, "vignette+": 1.2,
    "black_and_white+": 1.4, "shadows+": 1.2, "highlights-": 1.2, "auto_enhance+": 1.5, "auto_exposure+": 1.1,
    "auto_white_balance+": 1.1, "denoise+": 1.3, "deblur+": 1.2, "inpaint+": 1.3, "skin_smooth+": 1.2, "rotate+": 1.1,
    "crop+": 1.3, "frame+": 1.1, "night+": 0.8, "pastel+": 0.7, "hue-": 0.4, "hue+": 0.8, "vibrance-": 0.6,
    "midtones-": 0.7, "midtones+": 0.8, "whites-": 0.8, "whites+": 0.8, "cross_process+": 0.6, "solarize+": 0.6,
    "cyanotype+": 0.6, "blues+": 1.2, "greens+": 1.2, "yellows-": 0.7, "purples-": 0.6, "purples+": 0.7,
    "deblock+": 0.8, "tint-": 0.8,
}  # fmt: skip
"""How often a direction is asked for where that isn't 1."""

REGION_SHARES = {"all": 0.56, "background": 0.2, "subject": 0.17, "masked": 0.04, "skin": 0.03}
LOOK_SHARES = {"all": 0.76, "background": 0.12, "subject": 0.08, "masked": 0.04}
OWN_SHARES = {
    "blur": {"all": 0.3, "background": 0.5, "subject": 0.11, "masked": 0.07, "skin": 0.02},
    "pixelate": {"all": 0.35, "subject": 0.4, "background": 0.12, "masked": 0.13},
    "crop": {"all": 0.6, "subject": 0.4},
}
SKIN_MORE = frozenset({"exposure", "warmth", "saturation", "sharpen", "clarity", "highlights", "glow", "tint"})
SKIN_FACTOR = 3.0
"""How much more often skin is the region of what is customary there."""

OTHER_REGION = {"subject": "background", "background": "subject"}
CONTRAST = 0.35
"""How often a clause about one region is followed by one about the other, half of these with the opposite wish."""

SAME_ELSEWHERE = 0.3
"""How often a wish for the whole image is followed by the same or the opposite one for a part of it: "brighter, but
darken the background"."""

BARE, BARE_AFTER_PART = 0.4, 0.5
"""How often the whole image isn't named: "a bit warmer, and blur the background", "blur the background, warmer"."""

PAIRED = {"exposure+": 4.0, "exposure-": 2.5, "saturation+": 1.5, "saturation-": 1.5, "warmth+": 1.5, "warmth-": 1.5,
          "contrast+": 1.0, "contrast-": 0.5, "sharpen+": 1.0, "blur+": 1.0, "black_and_white+": 1.0}  # fmt: skip
"""What is often asked for the whole image and for a part of it at once, the same or the opposite."""

GROUPED, SAME_SIGN, REFERRING = 0.5, 0.4, 0.25


class WishChooser:
    """Chooses wishes that a language can say. All randomness comes from the given generator."""

    def __init__(self, writer: ClauseWriter, random: Random) -> None:
        self.writer, self.random = writer, random
        self.shares = {key: shares for key in signed_keys() if (shares := self.region_shares(key))}
        self.keys = list(self.shares)
        self.paired = {key: weight for key, weight in PAIRED.items() if self.is_paired(key)}
        self.weights = list(accumulate(KEY_WEIGHTS.get(key, 1.0) for key in self.keys))

    def region_shares(self, key: str) -> dict[str, float]:
        """Return how often an adjustment is asked for in each region that it has and that the lexicon can say."""
        name = key[:-1]
        shares = OWN_SHARES.get(name) or (LOOK_SHARES if vocabulary().adjustment(name).mix else REGION_SHARES)
        known = [region for region in regions_of(name) if region in self.writer.lexicon.regions]
        factor = {"skin": SKIN_FACTOR} if name in SKIN_MORE else {}
        return {
            region: shares.get(region, 1.0) * factor.get(region, 1.0)
            for region in known
            if self.writer.routes(Wish(region, key))
        }

    def key(self) -> str:
        """Return a signed adjustment, the common ones more often."""
        return self.random.choices(self.keys, cum_weights=self.weights)[0]

    def region(self, key: str) -> str:
        """Return a region for an adjustment."""
        shares = self.shares[key]
        return self.random.choices(list(shares), list(shares.values()))[0]

    def flipped(self, key: str) -> str:
        """Return the other direction of a key where there is one."""
        return opposite(key) if opposite(key) in self.shares else key

    def described(self, count: int) -> list[Wish]:
        """Return wishes that adjectives can say, those for the whole image first."""
        found: dict[tuple[str, str], Wish] = {}
        while len(found) < count:
            key = self.key()
            wish = Wish(self.region(key), key)
            if self.writer.adjectives(wish):
                found[wish.cell] = wish
        regions = vocabulary().regions
        return sorted(found.values(), key=lambda wish: regions.index(wish.region))

    def notes(
        self, count: int, region: str | None, taken: set[tuple[str, str]], like: Wish | None = None
    ) -> list[Wish]:
        """Return wishes that can be said in a word or two, for a region or (None) for several; some of them repeat or
        turn round the one before or, the first of them, `like`."""
        found: dict[tuple[str, str], Wish] = {}
        while len(found) < count:
            key = self.key()
            if like is not None and self.random.random() < SAME_ELSEWHERE:
                key = self.random.choice((like.key, self.flipped(like.key)))
            wish = Wish(region or self.region(key), key)
            if wish.region in self.shares[key] and wish.cell not in taken and self.writer.is_brief(wish):
                found[wish.cell] = like = wish
        return list(found.values())

    def wishes(self, most: int, last: Wish, taken: set[tuple[str, str]]) -> tuple[list[Wish], Setting]:
        """Return wishes for one clause (often one, sometimes several of one region) that are not taken yet."""
        referring = bool(taken) and self.random.random() < REFERRING
        key, previous = self.key(), last.region
        region = previous if referring else self.region(key)
        elsewhere = self.elsewhere(last)
        if elsewhere:
            region, referring = elsewhere, False
            key = self.random.choice((last.key, self.flipped(last.key), self.flipped(last.key), key, key))
        if region not in self.shares[key]:
            region = self.region(key)
        grouped = min(most, 3) if self.random.random() < GROUPED and key[:-1] not in UNGRADED else 1
        keys = [key] + [self.key() for _ in range(grouped - 1)]
        if self.random.random() < SAME_SIGN:
            keys = [k if k[-1] == key[-1] else self.flipped(k) for k in keys]
        keys = [key] + [k for k in keys[1:] if region in self.shares[k] and k[:-1] not in UNGRADED]
        wishes = {wish.cell: wish for wish in (Wish(region, k) for k in keys) if wish.cell not in taken}
        share = BARE if previous == "all" else BARE_AFTER_PART
        bare = region == "all" and self.random.random() < share
        setting = Setting(pronoun=referring and previous == region, explicit=previous != "all", bare=bare)
        return list(wishes.values()), setting

    def pair(self) -> tuple[Wish, Wish]:
        """Return a wish for the whole image and the same or the opposite one for a part of it."""
        key = self.random.choices(list(self.paired), list(self.paired.values()))[0]
        part = self.random.choice(("background", "background", "subject"))
        return Wish("all", key), Wish(part, self.random.choice((key, self.flipped(key), self.flipped(key))))

    def is_paired(self, key: str) -> bool:
        """Return whether both directions can be said in a word or two for the whole image and each part."""
        wishes = [Wish(region, k) for k in (key, self.flipped(key)) for region in ("all", *OTHER_REGION)]
        return all(wish.region in self.shares.get(wish.key, ()) and self.writer.is_brief(wish) for wish in wishes)

    def elsewhere(self, last: Wish) -> str | None:
        """Return another part of the image to speak of after `last`, as in "warm up the subject, cool down the
        background"; None to choose freely."""
        if last.region in OTHER_REGION:
            return OTHER_REGION[last.region] if self.random.random() < CONTRAST else None
        if last.region == "all" and last.key and self.random.random() < SAME_ELSEWHERE:
            return self.random.choice(list(OTHER_REGION))
        return None
