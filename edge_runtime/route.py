"""What a routing decision is made of and what it says: request, machine, offers, route. Values, checked when made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Final, TypeAlias

from edge_runtime.breaker import BreakerState
from edge_runtime.errors import NanoedgeError, OptionError

AUTO: Final = "auto"
"""As a request's model: whichever suits."""

DEFAULT_MODEL: Final = "nano-banana"
"""The embedded model."""


class Fallback(str, Enum):
    """Whether a request may leave this machine: never, when it is better, or in any case."""

    NEVER = "never"
    ALLOW = "allow"
    ONLY = "only"

    @classmethod
    def parse(cls, text: str) -> Fallback:
        """Read one of the three words; raises OptionError."""
        if text not in {member.value for member in cls}:
            raise OptionError(
                "fallback is not usable", got=text, allowed=", ".join(member.value for member in cls), param="fallback"
            )
        return cls(text)


class Obstacle(str, Enum):
    """What stands against an offer, in the order of judging."""

    FAILED = "failed"
    MODEL = "model"
    CAPABILITY = "capability"
    POLICY = "policy"
    EGRESS = "egress"
    MEMORY = "memory"
    BREAKER = "breaker"
    QUEUE = "queue"
    DEADLINE = "deadline"
    COST = "cost"
    SPENT = "spent"


MAX_HOPS: Final = 1
"""How often a request may be passed from node to node: to a central, and not further, so that none goes in circles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What whoever asks may have of providers: which, by name (None: any), and for how many dollars.

    It is the rule of an API key and stands above what a request wishes.
    """

    providers: frozenset[str] | None = None
    usd: float = math.inf

    def __post_init__(self) -> None:
        _within("usd", self.usd, 0, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What the router needs to know of a request.

    `beyond` is nano-banana's score, 0..1; `wish` its kind. `pixels` are those of the result. `pictures` counts the
    photo too. `planned`: it gives a plan; `painted`: it has options that only painting models have (seed, steps ...).
    `hops` counts the nodes that passed it on already.
    """

    model: str = AUTO
    beyond: float = 0.0
    wish: str = "edge"
    pixels: int
    pictures: int = 1
    masked: bool = False
    planned: bool = False
    painted: bool = False
    fallback: Fallback = Fallback.NEVER
    deadline_seconds: float | None = None
    max_cost_usd: float | None = None
    allowance: Allowance = field(default_factory=Allowance)
    hops: int = 0

    def __post_init__(self) -> None:
        _within("beyond", self.beyond, 0, 1)
        _within("pixels", self.pixels, 1, math.inf)
        _within("pictures", self.pictures, 1, math.inf)
        _within("hops", self.hops, 0, math.inf)
        for name, value in (("deadline_seconds", self.deadline_seconds), ("max_cost_usd", self.max_cost_usd)):
            if value is not None:
                _within(name, value, 0, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """What the machine has left. `queue_seconds` is how long a local edit would wait for its turn."""

    available_bytes: int
    cores: int
    queue_seconds: float = 0.0

    def __post_init__(self) -> None:
        _within("available_bytes", self.available_bytes, 0, math.inf)
        _within("cores", self.cores, 1, math.inf)
        _within("queue_seconds", self.queue_seconds, 0, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOffer:
    """A model on this machine.

    `seconds` is the predicted run, None before the first was measured, and `margin` the factor by which predictions
    are rarely passed; `memory_bytes` what it takes besides what it holds. `beyond_limit`: a score of this or more is
    beyond it; None for a model that paints anew. `retry_seconds`: how long it is left alone after crashes.
    """

    name: str
    family: str
    version: str
    pictures: int = 1
    masks: bool = True
    beyond_limit: float | None = None
    seconds: float | None = None
    margin: float = 1.0
    memory_bytes: int = 0
    retry_seconds: float = 0.0
    failure: str = ""
    site: ClassVar[str] = "local"
    price_usd: ClassVar[float] = 0.0
    good_for: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        _checked_offer(self.name, self.pictures, self.seconds)
        _within("margin", self.margin, 1, math.inf)
        _within("memory_bytes", self.memory_bytes, 0, math.inf)

    @property
    def model(self) -> str:
        """Return the model's name, which is the offer's."""
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOffer:
    """A configured provider with its model.

    `seconds` is the predicted time of an answer and `price_usd` that of an edit; `good_for` are kinds of wishes that
    the operator wants it for. `retry_seconds`: how long an open breaker stays so. `failure` is why it failed in this
    request already, if it did.
    """

    name: str
    kind: str
    model: str
    family: str
    pictures: int = 1
    masks: bool = False
    seconds: float | None = None
    price_usd: float = 0.0
    good_for: tuple[str, ...] = ()
    breaker: BreakerState = BreakerState.CLOSED
    retry_seconds: float = 0.0
    failure: str = ""
    site: ClassVar[str] = "central"
    version: ClassVar[str] = ""
    memory_bytes: ClassVar[int] = 0
    margin: ClassVar[float] = 1.0
    beyond_limit: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        _checked_offer(self.name, self.pictures, self.seconds)
        _within("price_usd", self.price_usd, 0, math.inf)


Offer: TypeAlias = LocalOffer | RemoteOffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """An offer that was not chosen, and why: a sentence, and the obstacle, None when it was only not the best."""

    offer: Offer
    why: str
    obstacle: Obstacle | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The decision: the offer that serves the edit, why, and all others with why not."""

    offer: Offer
    why: str
    rejected: tuple[Rejection, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the decision as the API shows it."""
        offer = self.offer
        return {
            **_named(offer), "seconds": None if offer.seconds is None else round(offer.seconds, 3),
            "cost_usd": offer.price_usd, "why": self.why,
            "not_chosen": [{**_named(other.offer), "why": other.why} for other in self.rejected],
        }


def _named(offer: Offer) -> dict[str, Any]:
    return {"site": offer.site, "name": offer.name, "model": offer.model, "version": offer.version or None}


def _checked_offer(name: str, pictures: int, seconds: float | None) -> None:
    if not name:
        raise NanoedgeError("an offer needs a name")
    _within("pictures", pictures, 1, math.inf)
    if seconds is not None:
        _within("seconds", seconds, 0, math.inf)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also false for NaN
        raise OptionError(f"{name} is out of range", got=value, allowed=f"{low:g} to {high:g}", param=name)
