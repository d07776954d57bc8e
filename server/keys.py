"""API keys as values: what a key looks like, what it may do, and how its words are read. Nothing is stored here.

A key is `ne_<id>_<secret>`: an identifier of 8 characters that may be shown, and 32 random bytes in base62 that are
shown once. With so much chance in it, one round of HMAC is enough to keep it; a slow hash would only slow the server.
"""

from __future__ import annotations

import math
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from edge_runtime.errors import OptionError

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_CHARACTERS: Final = 8
_SECRET_BYTES: Final = 32
_SECRET_CHARACTERS: Final = math.ceil(8 * _SECRET_BYTES / math.log2(len(_ALPHABET)))
_KEY: Final = re.compile(rf"ne_([0-9A-Za-z]{{{_ID_CHARACTERS}}})_[0-9A-Za-z]{{{_SECRET_CHARACTERS}}}")
_SPANS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_RATE: Final = re.compile(r"([1-9][0-9]{0,6})/(s|min|h|d)")
_DURATION: Final = re.compile(r"(0|[1-9][0-9]{0,4})(s|min|h|d)")


class Scope(str, Enum):
    """What a key is for: edits and their jobs; models, plans and routes; the metrics."""

    EDIT = "edit"
    READ = "read"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most `count` requests in `seconds`, of which all may come at once."""

    count: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read `60/min`; raises OptionError."""
        found = _RATE.fullmatch(text)
        if found is None:
            raise OptionError("this is not a rate", got=text, allowed="for example 5/s, 60/min, 1000/h, 5000/d")
        return cls(count=int(found[1]), seconds=_SPANS[found[2]])

    def __str__(self) -> str:
        return f"{self.count}/{next(name for name, seconds in _SPANS.items() if seconds == self.seconds)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a key may do.

    `providers` are those that its edits may go to, None meaning any and none at all being the default: edits stay on
    this machine. `usd_per_day` and `usd_per_month` bound what providers may take, by UTC's calendar.
    """

    scopes: frozenset[Scope] = frozenset((Scope.EDIT, Scope.READ))
    providers: frozenset[str] | None = field(default_factory=frozenset)
    usd_per_day: float | None = None
    usd_per_month: float | None = None
    rate: Rate | None = None

    def __post_init__(self) -> None:
        if not self.scopes:
            raise OptionError("a key without scopes is of no use", allowed=", ".join(scope.value for scope in Scope))
        for name, usd in (("a day", self.usd_per_day), ("a month", self.usd_per_month)):
            if usd is not None and not 0 <= usd < math.inf:
                raise OptionError(f"the spend cap of {name} is out of range", got=usd, allowed="0 or more dollars")

    @property
    def capped(self) -> bool:
        """Say whether there is a spend cap."""
        return self.usd_per_day is not None or self.usd_per_month is not None

    def to_json(self) -> dict[str, Any]:
        """Return the rule as it is stored and shown."""
        return {
            "scopes": sorted(scope.value for scope in self.scopes),
            "providers": None if self.providers is None else sorted(self.providers),
            "usd_per_day": self.usd_per_day, "usd_per_month": self.usd_per_month,
            "rate": None if self.rate is None else str(self.rate),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rule:
        """Read what `to_json` gave."""
        providers, rate = data["providers"], data["rate"]
        return cls(
            scopes=frozenset(map(Scope, data["scopes"])),
            providers=None if providers is None else frozenset(providers),
            usd_per_day=data["usd_per_day"], usd_per_month=data["usd_per_month"],
            rate=None if rate is None else Rate.parse(rate),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key without its secret. Times are seconds since 1970; until `overlap_until` the previous secret holds too."""

    id: str
    name: str
    rule: Rule
    created: float
    expires: float | None = None
    revoked: float | None = None
    overlap_until: float | None = None

    def state(self, now: float) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


def new_id() -> str:
    """Return a random identifier."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_ID_CHARACTERS))


def new_key(key_id: str) -> str:
    """Return the whole key of an identifier, with a fresh secret."""
    number, digits = int.from_bytes(secrets.token_bytes(_SECRET_BYTES), "big"), []
    for _ in range(_SECRET_CHARACTERS):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return f"ne_{key_id}_{''.join(digits)}"


def id_of(text: str) -> str | None:
    """Return the identifier in a key; None for what is no key at all."""
    found = _KEY.fullmatch(text)
    return None if found is None else found[1]


def seconds_of(text: str) -> int:
    """Read a duration such as `90d`, `24h`, `30min` or `0s`; raises OptionError."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise OptionError("this is not a duration", got=text, allowed="for example 90d, 24h, 30min, 0s")
    return int(found[1]) * _SPANS[found[2]]


def scopes_of(text: str) -> frozenset[Scope]:
    """Read scopes, separated by commas; raises OptionError."""
    known = {scope.value for scope in Scope}
    given = {word.strip() for word in text.split(",")}
    if not given <= known:
        raise OptionError("there is no such scope", got=", ".join(sorted(given - known)), allowed=", ".join(known))
    return frozenset(map(Scope, given))


def egress_of(text: str) -> frozenset[str] | None:
    """Read an egress rule: `never`, `allow` (any provider), or names of providers, separated by commas."""
    if text == "allow":
        return None
    names = frozenset(name for word in text.split(",") if (name := word.strip()))
    if "allow" in names or ("never" in names and len(names) > 1) or not names:
        raise OptionError("this is no egress rule", got=text, allowed="never, allow, or names of providers")
    return frozenset() if names == {"never"} else names
