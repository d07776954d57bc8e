"""Which offer serves a request, and why. Pure: sees facts and offers, never an engine, a socket or a clock.

Capability comes first, then policy, memory, the deadline and the cost: each is an obstacle that rules an offer out.
Among those without one the advice decides, then the price, then the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from edge_runtime.advice import Advice
from edge_runtime.breaker import BreakerState
from edge_runtime.errors import (
    RouteCapacityError,
    RouteDeadlineError,
    RouteError,
    RouteForbiddenError,
    RouteQueueError,
    RouteSpentError,
    UnknownModelError,
)
from edge_runtime.route import (
    AUTO,
    MAX_HOPS,
    Fallback,
    LocalOffer,
    MachineFacts,
    Obstacle,
    Offer,
    Rejection,
    RemoteOffer,
    RequestFacts,
    Route,
)

_Found = tuple[Obstacle, str]
_RULES = (
    (Obstacle.EGRESS, RouteForbiddenError, "ask the node's operator, or for a model that is here"),
    (Obstacle.SPENT, RouteSpentError, "wait until the spending is counted anew, or ask for a model that is here"),
)
_PASSING = frozenset({Obstacle.MEMORY, Obstacle.BREAKER, Obstacle.QUEUE, Obstacle.DEADLINE})


def route(request: RequestFacts, machine: MachineFacts, offers: Sequence[Offer], advice: Advice) -> Route:
    """Choose an offer.

    Raises UnknownModelError when none is of the model that was named; RouteDeadlineError (504) when one fits but for
    the time, RouteCapacityError (503) when one fits but for what passes by, RouteForbiddenError (403) and
    RouteSpentError (429) when one fits but for the rule or spending of whoever asks, and RouteError (422) otherwise.
    """
    judged = [(offer, list(_obstacles(request, machine, offer))) for offer in offers]
    if all(any(kind is Obstacle.MODEL for kind, _ in found) for _, found in judged):
        names = dict.fromkeys(offer.name for offer in offers)
        raise UnknownModelError("unknown model", got=request.model, allowed=", ".join((*names, AUTO)), param="model")
    fitting = [offer for offer, found in judged if not found]
    if not fitting:
        raise _nothing_fits(request, machine, judged)
    best = min(fitting, key=lambda offer: _order(request, offer, advice))
    rejected = (
        Rejection(offer=offer, why=found[0][1], obstacle=found[0][0]) if found
        else Rejection(offer=offer, why=_second(request, offer, best, advice))
        for offer, found in judged if offer is not best
    )
    return Route(offer=best, why=_why(request, best, advice, len(fitting)), rejected=tuple(rejected))


def _obstacles(request: RequestFacts, machine: MachineFacts, offer: Offer) -> Iterator[_Found]:
    """Yield all that stands against an offer, the weightiest first."""
    if not _is_meant(request.model, offer):
        yield Obstacle.MODEL, f"{request.model} was asked for by name"
    if offer.failure:
        yield Obstacle.FAILED, f"it failed in this request: {offer.failure}"
    checks: tuple[Callable[[RequestFacts, MachineFacts, Offer], _Found | None], ...] = (
        _capability, _policy, _egress, _memory, _breaker, _deadline, _cost, _spent,
    )  # fmt: skip
    yield from filter(None, (check(request, machine, offer) for check in checks))


def _is_meant(model: str, offer: Offer) -> bool:
    if model == AUTO:
        return True
    return model == offer.name or (isinstance(offer, RemoteOffer) and model in (offer.model, offer.family))


def _capability(request: RequestFacts, machine: MachineFacts, offer: Offer) -> _Found | None:
    if isinstance(offer, LocalOffer) and request.model == offer.name:
        return None  # it says itself what it can't do, and of a wish beyond it, it does what it can
    plans = offer.beyond_limit is not None
    if request.planned and not plans:
        return Obstacle.CAPABILITY, "it paints from words and takes no plans"
    if request.painted and plans:
        return Obstacle.CAPABILITY, "it has no seed, steps, guidance or negative prompt"
    if request.pictures > offer.pictures:
        return Obstacle.CAPABILITY, f"it takes {offer.pictures} picture{'s' * (offer.pictures > 1)} at most"
    if request.masked and not offer.masks:
        return Obstacle.CAPABILITY, "it takes no masks"
    limit = offer.beyond_limit
    if limit is not None and request.beyond >= limit:
        return Obstacle.CAPABILITY, f"the wish goes beyond it (score {request.beyond:.2f}, its limit {limit:g})"
    return None


def _policy(request: RequestFacts, machine: MachineFacts, offer: Offer) -> _Found | None:
    if isinstance(offer, RemoteOffer) and request.fallback is Fallback.NEVER:
        return Obstacle.POLICY, "the request may not leave this machine (fallback=never)"
    if isinstance(offer, LocalOffer) and request.fallback is Fallback.ONLY:
        return Obstacle.POLICY, "only a provider was asked for (fallback=only)"
    return None


def _egress(request: RequestFacts, machine: MachineFacts, offer: Offer) -> _Found | None:
    """Judge what isn't the request's to choose: the rule of an API key, and the end of a chain of nodes."""
    if not isinstance(offer, RemoteOffer):
        return None
    allowed = request.allowance.providers
    if allowed is not None and offer.name not in allowed:
        rule = f"lets edits go to {', '.join(sorted(allowed))} only" if allowed else "keeps edits on this machine"
        return Obstacle.EGRESS, f"the rule of the API key {rule}"
    if request.hops >= MAX_HOPS:
        return Obstacle.EGRESS, "another node passed the request on, and it isn't passed on twice"
    return None


def _memory(request: RequestFacts, machine: MachineFacts, offer: Offer) -> _Found | None:
    if offer.memory_bytes <= machine.available_bytes:
        return None
    need, free = offer.memory_bytes / 1e9, machine.available_bytes / 1e9
    return Obstacle.MEMORY, f"it needs {need:.2f} GB of memory and {free:.2f} GB are free"


def _breaker(request: RequestFacts, machine: MachineFacts, offer: Offer) -> _Found | None:
    if isinstance(offer, LocalOffer):
        if not offer.retry_seconds:
            return None
        return Obstacle.BREAKER, f"it crashed repeatedly and is left alone for {math.ceil(offer.retry_seconds)} s"
    if offer.breaker is BreakerState.FORBIDDEN:
        return Obstacle.BREAKER, "it doesn't accept the configured key"
    if offer.breaker is BreakerState.OPEN:
        return Obstacle.BREAKER, f"it failed repeatedly and is left alone for {math.ceil(offer.retry_seconds)} s"
    return None


def _deadline(request: RequestFacts, machine: MachineFacts, offer: Offer) -> _Found | None:
    """Compare the deadline with the time. Behind others there must be room for the ups and downs of times, too."""
    wait, run, left = _wait(machine, offer), offer.seconds or 0.0, request.deadline_seconds
    if left is None or (wait + offer.margin * run <= left if wait else run <= left):
        return None
    after = f" after {wait:.1f} s in the queue" if wait else ""
    kind = Obstacle.QUEUE if run <= left else Obstacle.DEADLINE
    return kind, f"it would take {run:.1f} s{after}, and {left:.1f} s are left"


def _cost(request: RequestFacts, machine: MachineFacts, offer: Offer) -> _Found | None:
    if request.max_cost_usd is None or offer.price_usd <= request.max_cost_usd:
        return None
    return Obstacle.COST, f"it costs ${offer.price_usd:g}, and ${request.max_cost_usd:g} may be spent"


def _spent(request: RequestFacts, machine: MachineFacts, offer: Offer) -> _Found | None:
    left = request.allowance.usd
    if not isinstance(offer, RemoteOffer) or offer.price_usd <= left:
        return None
    return Obstacle.SPENT, f"it costs ${offer.price_usd:g}, and the API key has ${left:g} left to spend"


def _wait(machine: MachineFacts, offer: Offer) -> float:
    return machine.queue_seconds if isinstance(offer, LocalOffer) else 0.0


def _order(request: RequestFacts, offer: Offer, advice: Advice) -> tuple[bool, int, float, float]:
    """Return what offers are sorted by. With a deadline, one whose time is known goes before one whose isn't."""
    gamble = request.deadline_seconds is not None and offer.seconds is None
    seconds = math.inf if offer.seconds is None else offer.seconds
    return gamble, _place(request, offer, advice), offer.price_usd, seconds


def _place(request: RequestFacts, offer: Offer, advice: Advice) -> int:
    return advice.place(request.wish, offer.family, offer.good_for)


def _why(request: RequestFacts, best: Offer, advice: Advice, fitting: int) -> str:
    if request.model != AUTO:
        return f"{request.model} was asked for by name"
    if fitting == 1:
        return "it is the only one that can do this request"
    if _place(request, best, advice) < len(advice.models[request.wish]):
        return f"it suits a wish of the kind '{request.wish}' best"
    return "it is the cheapest and fastest that can do this request"


def _second(request: RequestFacts, offer: Offer, best: Offer, advice: Advice) -> str:
    """Return why an offer without an obstacle was not the best."""
    mine, others = (_order(request, one, advice) for one in (offer, best))
    if mine[0] > others[0]:
        return f"how long it takes isn't known yet, and there is a deadline that {best.name} keeps"
    if mine[1] > others[1]:
        return f"{best.name} suits a wish of the kind '{request.wish}' better"
    if mine[2] > others[2]:
        return f"{best.name} costs less"
    return f"{best.name} is faster" if mine[3] > others[3] else f"{best.name} is as good and stands first"


def _nothing_fits(
    request: RequestFacts, machine: MachineFacts, judged: Sequence[tuple[Offer, list[_Found]]]
) -> RouteError:
    """Return the error that says what stood against each offer and what to change."""
    sets = [{kind for kind, _ in found} for _, found in judged]
    told = "; ".join(f"{offer.name}: {found[0][1]}" for offer, found in judged if found[0][0] is not Obstacle.MODEL)
    what = f"no model here and no provider can do this request ({told})"
    if {Obstacle.DEADLINE} in sets and {Obstacle.QUEUE} not in sets:
        return RouteDeadlineError(what, hint="give it more time, or ask for a smaller size", param="deadline_ms")
    if {Obstacle.QUEUE} in sets:
        crowded = RouteQueueError(what, hint="try again later, or give it more time", param="deadline_ms")
        crowded.retry_after_seconds = max(1, math.ceil(_excess(request, machine, judged)))
        return crowded
    if any(found <= _PASSING for found in sets):
        error = RouteCapacityError(what, hint="try again later, or ask for a smaller size")
        error.retry_after_seconds = _patience(judged)
        return error
    for obstacle, kind, hint in _RULES:
        if any(obstacle in found and found <= {obstacle, *_PASSING} for found in sets):
            return kind(what, hint=hint)
    return RouteError(what, hint=_advised_change(sets), param=None)


def _excess(
    request: RequestFacts, machine: MachineFacts, judged: Sequence[tuple[Offer, list[_Found]]]
) -> float:
    """Return by how many seconds the queue is too long, for the offer that it hinders least."""
    crowded = [offer for offer, found in judged if {kind for kind, _ in found} == {Obstacle.QUEUE}]
    quickest = min(offer.margin * (offer.seconds or 0.0) for offer in crowded)
    return machine.queue_seconds + quickest - (request.deadline_seconds or 0.0)


def _patience(judged: Sequence[tuple[Offer, list[_Found]]]) -> int:
    waits = [offer.retry_seconds for offer, _ in judged if offer.retry_seconds]
    return max(1, math.ceil(min(waits, default=30.0)))


def _advised_change(sets: Sequence[set[Obstacle]]) -> str:
    if any(Obstacle.POLICY in found and found <= {Obstacle.POLICY, *_PASSING} for found in sets):
        return "send fallback=allow if it may go to a provider, or fallback=never if it must stay here"
    if any(Obstacle.COST in found and found <= {Obstacle.COST, *_PASSING} for found in sets):
        return "allow a higher cost"
    return "name nano-banana as the model to have done what it understands, or add a model or provider that fits"
