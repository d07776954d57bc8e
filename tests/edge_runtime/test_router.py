"""The router: what it chooses, what it says of the others, and what it never does. No model and no network."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.advice import EDGE, Advice
from edge_runtime.breaker import BreakerState
from edge_runtime.errors import (
    NanoedgeError,
    OptionError,
    RouteCapacityError,
    RouteDeadlineError,
    RouteError,
    RouteForbiddenError,
    RouteQueueError,
    RouteSpentError,
    UnknownModelError,
)
from edge_runtime.pace import Pace
from edge_runtime.route import (
    MAX_HOPS,
    Allowance,
    Fallback,
    LocalOffer,
    MachineFacts,
    Offer,
    RemoteOffer,
    RequestFacts,
    Route,
)
from edge_runtime.router import route

ADVICE = Advice.read()
MACHINE = MachineFacts(available_bytes=2_000_000_000, cores=2)
NANO = LocalOffer(name="nano-banana", family="nano-banana", version="n1", beyond_limit=0.5, seconds=0.1)
DREAM = LocalOffer(name="dreamlite", family="dreamlite", version="d1", seconds=20.0, memory_bytes=1_500_000_000)
QWEN = RemoteOffer(
    name="central", kind="openai-compatible", model="Qwen/Qwen-Image-Edit-2511", family="qwen-image-edit", seconds=6.0,
    price_usd=0.03, pictures=3, masks=True,
)  # fmt: skip
KONTEXT = RemoteOffer(
    name="bfl", kind="bfl", model="flux-kontext-pro", family="flux-kontext", seconds=4.0, price_usd=0.04, pictures=4
)
UMO = RemoteOffer(name="faces", kind="openai-compatible", model="umo", family="umo", seconds=9.0, price_usd=0.05)
ALL = (NANO, DREAM, QWEN, KONTEXT, UMO)


def asked(**facts: Any) -> RequestFacts:
    return RequestFacts(**{"pixels": 10**6, "fallback": Fallback.ALLOW} | facts)


def beyond(wish: str = "composition", **facts: Any) -> RequestFacts:
    return asked(**{"beyond": 0.9, "wish": wish} | facts)


def decided(request: RequestFacts, offers: tuple[Offer, ...] = ALL, machine: MachineFacts = MACHINE) -> Route:
    return route(request, machine, offers, ADVICE)


@pytest.mark.parametrize(
    ("request_facts", "chosen"),
    [
        (asked(), "nano-banana"),
        (asked(beyond=0.49), "nano-banana"),
        (beyond("retouch"), "faces"),
        (beyond("stepwise"), "bfl"),
        (beyond("composition"), "central"),
        (beyond("composition", fallback=Fallback.NEVER), "dreamlite"),
        (asked(fallback=Fallback.ONLY), "central"),
        (asked(model="dreamlite"), "dreamlite"),
        (asked(model="nano-banana", beyond=0.9), "nano-banana"),
        (asked(model="central"), "central"),
        (asked(model="qwen-image-edit"), "central"),
        (asked(model="Qwen/Qwen-Image-Edit-2511"), "central"),
        (beyond("retouch", pictures=4), "bfl"),
        (beyond("retouch", pictures=3, deadline_seconds=5.0), "bfl"),
        (beyond("stepwise", masked=True), "dreamlite"),
        (beyond("stepwise", masked=True, fallback=Fallback.ONLY), "central"),
        (beyond("retouch", max_cost_usd=0.03), "dreamlite"),
        (beyond("retouch", max_cost_usd=0.03, deadline_seconds=10.0), "central"),
        (asked(planned=True), "nano-banana"),
        (asked(painted=True), "dreamlite"),
    ],
)
def test_what_is_chosen(request_facts: RequestFacts, chosen: str) -> None:
    assert decided(request_facts).offer.name == chosen


@pytest.mark.parametrize(
    ("request_facts", "offer", "machine", "why"),
    [
        (beyond(), NANO, MACHINE, "the wish goes beyond it (score 0.90, its limit 0.5)"),
        (asked(fallback=Fallback.NEVER), QWEN, MACHINE, "the request may not leave this machine (fallback=never)"),
        (asked(fallback=Fallback.ONLY), NANO, MACHINE, "only a provider was asked for (fallback=only)"),
        (asked(), DREAM, replace(MACHINE, available_bytes=10**9), "it needs 1.50 GB of memory and 1.00 GB are free"),
        (asked(), replace(QWEN, breaker=BreakerState.OPEN, retry_seconds=4.2), MACHINE,
         "it failed repeatedly and is left alone for 5 s"),
        (asked(), replace(QWEN, breaker=BreakerState.FORBIDDEN), MACHINE, "it doesn't accept the configured key"),
        (asked(deadline_seconds=2.0), QWEN, MACHINE, "it would take 6.0 s, and 2.0 s are left"),
        (asked(deadline_seconds=21.0), DREAM, replace(MACHINE, queue_seconds=3.0),
         "it would take 20.0 s after 3.0 s in the queue, and 21.0 s are left"),
        (asked(max_cost_usd=0.01), QWEN, MACHINE, "it costs $0.03, and $0.01 may be spent"),
        (asked(masked=True), KONTEXT, MACHINE, "it takes no masks"),
        (asked(pictures=2), DREAM, MACHINE, "it takes 1 picture at most"),
        (asked(planned=True), DREAM, MACHINE, "it paints from words and takes no plans"),
        (asked(painted=True), NANO, MACHINE, "it has no seed, steps, guidance or negative prompt"),
        (asked(model="dreamlite"), NANO, MACHINE, "dreamlite was asked for by name"),
        (asked(), replace(NANO, retry_seconds=3.1), MACHINE, "it crashed repeatedly and is left alone for 4 s"),
        (asked(), replace(QWEN, failure="it hung"), MACHINE, "it failed in this request: it hung"),
        (asked(), QWEN, MACHINE, "anything suits a wish of the kind 'edge' better"),
    ],
)  # fmt: skip
def test_why_an_offer_was_not_chosen(
    request_facts: RequestFacts, offer: Offer, machine: MachineFacts, why: str
) -> None:
    """Each beside one that can do anything, and costs and weighs nothing."""
    anything: Offer = RemoteOffer(name="anything", kind="bfl", model="dreamlite", family="nano-banana", pictures=9,
                                  masks=True, seconds=0.0)  # fmt: skip
    if request_facts.planned or request_facts.fallback is Fallback.NEVER:
        anything = LocalOffer(name="anything", family="nano-banana", version="1", beyond_limit=2.0, seconds=0.0)
    found = decided(request_facts, (offer, anything), machine)
    assert found.offer is anything
    assert [other.why for other in found.rejected] == [why]


@pytest.mark.parametrize(
    ("request_facts", "offers", "kind", "words"),
    [
        (beyond(fallback=Fallback.NEVER), (NANO, QWEN), RouteError, "fallback=allow"),
        (beyond(fallback=Fallback.NEVER), (NANO,), RouteError, "add a model or provider"),
        (beyond(deadline_seconds=1.0), (NANO, QWEN), RouteDeadlineError, "more time"),
        (beyond(max_cost_usd=0.0), (NANO, QWEN), RouteError, "higher cost"),
        (beyond(), (NANO, replace(QWEN, breaker=BreakerState.OPEN, retry_seconds=7.5)), RouteCapacityError, "later"),
        (beyond(), (NANO, replace(DREAM, memory_bytes=10**11)), RouteCapacityError, "later"),
        (asked(fallback=Fallback.ONLY), (NANO,), RouteError, "fallback=never"),
        (asked(model="dreamlite", planned=True), (QWEN, DREAM), None, ""),
        (asked(model="gpt-image-1"), ALL, UnknownModelError, "nano-banana, dreamlite, central, bfl, faces, auto"),
        (asked(), (), UnknownModelError, "auto"),
    ],
)
def test_when_nothing_fits_the_error_says_what_to_change(
    request_facts: RequestFacts, offers: tuple[Offer, ...], kind: type[NanoedgeError] | None, words: str
) -> None:
    if kind is None:
        assert decided(request_facts, offers).offer is DREAM, "a model that is named says itself what it can't do"
        return
    with pytest.raises(kind) as caught:
        decided(request_facts, offers)
    assert type(caught.value) is kind and words in str(caught.value)


def test_an_open_breaker_says_when_to_come_back() -> None:
    with pytest.raises(RouteCapacityError) as caught:
        decided(beyond(), (NANO, replace(QWEN, breaker=BreakerState.OPEN, retry_seconds=7.5)))
    assert caught.value.retry_after_seconds == 8


def test_a_model_that_crashed_repeatedly_says_when_to_come_back() -> None:
    with pytest.raises(RouteCapacityError, match="crashed repeatedly") as caught:
        decided(asked(), (replace(NANO, retry_seconds=4.2),))
    assert caught.value.retry_after_seconds == 5
    assert decided(asked(), (replace(NANO, retry_seconds=4.2), QWEN)).offer is QWEN


def test_a_queue_that_is_too_long_is_another_thing_than_a_deadline_that_is_too_short() -> None:
    crowded = replace(MACHINE, queue_seconds=5.0)
    with pytest.raises(RouteQueueError) as caught:
        decided(asked(deadline_seconds=3.0), (NANO,), crowded)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_seconds) == (503, "queue_too_long", 3)
    with pytest.raises(RouteDeadlineError) as short:
        decided(asked(deadline_seconds=0.05), (NANO,), crowded)
    assert short.value.status == 504
    assert decided(asked(deadline_seconds=6.0), (NANO,), crowded).offer is NANO
    assert decided(asked(deadline_seconds=8.0), (NANO, QWEN), replace(MACHINE, queue_seconds=9.0)).offer is QWEN


def test_behind_others_there_is_room_for_ups_and_downs() -> None:
    uneven = replace(NANO, seconds=1.0, margin=1.5)
    crowded = replace(MACHINE, queue_seconds=1.0)
    assert decided(asked(deadline_seconds=1.2), (uneven,)).offer is uneven, "an idle machine tries"
    assert decided(asked(deadline_seconds=2.6), (uneven,), crowded).offer is uneven
    with pytest.raises(RouteQueueError):
        decided(asked(deadline_seconds=2.4), (uneven,), crowded)


def test_margins_follow_how_uneven_times_are() -> None:
    even, uneven = Pace(), Pace()
    assert even.margin("model") == 1.0
    for number in range(20):
        even.learn("model", 10**6, 1, 1.0)
        uneven.learn("model", 10**6, 1, 1.0 + number % 2)
    assert even.margin("model") == pytest.approx(1.0) and 1.5 < uneven.margin("model") < 4


def test_with_a_deadline_a_known_time_goes_before_an_unknown_one() -> None:
    unknown = replace(QWEN, seconds=None)
    assert decided(beyond(), (unknown, KONTEXT)).offer is unknown
    found = decided(beyond(deadline_seconds=10.0), (unknown, KONTEXT))
    assert found.offer is KONTEXT and "isn't known yet" in found.rejected[0].why


def test_what_the_operator_wants_a_provider_for() -> None:
    wanted = replace(KONTEXT, good_for=("retouch",), price_usd=0.01)
    assert decided(beyond("retouch"), (UMO, wanted)).offer is wanted


def test_a_route_as_json() -> None:
    told = decided(beyond(), (NANO, QWEN)).to_json()
    assert told["site"] == "central" and told["model"] == QWEN.model and told["cost_usd"] == 0.03
    assert told["not_chosen"][0] | {"why": ""} == {
        "site": "local", "name": "nano-banana", "model": "nano-banana", "version": "n1", "why": "",
    }


@pytest.mark.parametrize(
    ("instruction", "kind"),
    [
        ("restore this old photo", "retouch"), ("Retouch the portrait", "retouch"), ("restauriere das Bild", "retouch"),
        ("now put the same person on a beach", "stepwise"), ("dann setze ihm einen Hut auf", "stepwise"),
        ("add a hat", "composition"), ("turn the car into a boat", "composition"), ("known names", "composition"),
        ("put a dog next to the man", "composition"), ("a nowhere land", "composition"), ("retouching", "retouch"),
    ],
)  # fmt: skip
def test_kinds_of_wishes(instruction: str, kind: str) -> None:
    assert ADVICE.kind(instruction, beyond=True) == kind
    assert ADVICE.kind(instruction, beyond=False) == EDGE


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (RequestFacts, {"pixels": 0}), (RequestFacts, {"pixels": 1, "beyond": 1.1}),
        (RequestFacts, {"pixels": 1, "deadline_seconds": math.nan}),
        (RequestFacts, {"pixels": 1, "max_cost_usd": -1.0}),
        (MachineFacts, {"available_bytes": -1, "cores": 1}), (MachineFacts, {"available_bytes": 1, "cores": 0}),
        (LocalOffer, {"name": "a", "family": "a", "version": "1", "seconds": -1.0}),
        (RemoteOffer, {"name": "a", "kind": "bfl", "model": "a", "family": "a", "price_usd": -0.1}),
    ],
)  # fmt: skip
def test_facts_that_can_not_be(make: Any, values: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="out of range"):
        make(**values)


def test_a_pace_is_learned() -> None:
    pace = Pace()
    assert pace.predict("m", 10**6, 4) is None
    pace.learn("m", 10**6, 4, 8.0)
    assert pace.predict("m", 2 * 10**6, 2) == pytest.approx(8.0)
    for _ in range(20):
        pace.learn("m", 10**6, 4, 16.0)
    assert pace.predict("m", 10**6, 4) == pytest.approx(16.0, rel=0.01)
    assert pace.predict("m", 1, 4) == pytest.approx(4.0, rel=0.01), "the smallest cost as much as a quarter megapixel"


remotes = st.builds(
    RemoteOffer, name=st.sampled_from("abcd"), kind=st.just("bfl"), model=st.sampled_from(["m", "umo"]),
    family=st.sampled_from(["umo", "flux-kontext", "qwen-image-edit", "nano-banana"]), pictures=st.integers(1, 9),
    masks=st.booleans(), seconds=st.none() | st.floats(0, 100), price_usd=st.floats(0, 1),
    good_for=st.lists(st.sampled_from(ADVICE.kinds)).map(tuple), breaker=st.sampled_from(BreakerState),
    retry_seconds=st.floats(0, 300),
)  # fmt: skip
locals_ = st.builds(
    LocalOffer, name=st.sampled_from("wxyz"), family=st.sampled_from(["nano-banana", "dreamlite", "umo"]),
    version=st.just("1"), pictures=st.integers(1, 9), masks=st.booleans(), beyond_limit=st.none() | st.floats(0, 1),
    seconds=st.none() | st.floats(0, 100), memory_bytes=st.integers(0, 4 * 10**9),
)  # fmt: skip
requests = st.builds(
    RequestFacts, model=st.sampled_from(["auto", "a", "w", "m", "umo"]), beyond=st.floats(0, 1),
    wish=st.sampled_from(ADVICE.kinds), pixels=st.integers(1, 10**8), pictures=st.integers(1, 9),
    masked=st.booleans(), planned=st.booleans(), painted=st.booleans(), fallback=st.sampled_from(Fallback),
    deadline_seconds=st.none() | st.floats(0, 100), max_cost_usd=st.none() | st.floats(0, 1),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(requests, st.lists(locals_, max_size=4), st.lists(remotes, max_size=4), st.floats(0, 50))
def test_promises_that_every_route_keeps(
    request_facts: RequestFacts, here: list[LocalOffer], there: list[RemoteOffer], queue_seconds: float
) -> None:
    machine = replace(MACHINE, queue_seconds=queue_seconds)
    offers: tuple[Offer, ...] = (*here, *there)
    try:
        found = decided(request_facts, offers, machine)
    except (RouteError, UnknownModelError) as error:
        assert error.status in (404, 422, 503, 504) and str(error)
        return
    remote = isinstance(found.offer, RemoteOffer)
    assert not (remote and request_facts.fallback is Fallback.NEVER), "never leaves unless that is allowed"
    assert not (remote and not there), "never leaves unless something is configured"
    assert remote or request_facts.fallback is not Fallback.ONLY
    assert found.offer.memory_bytes <= machine.available_bytes
    assert request_facts.max_cost_usd is None or found.offer.price_usd <= request_facts.max_cost_usd
    if remote:
        assert found.offer.breaker in (BreakerState.CLOSED, BreakerState.PROBING)
    if request_facts.deadline_seconds is not None and found.offer.seconds is not None:
        wait = 0.0 if remote else queue_seconds
        assert wait + found.offer.seconds <= request_facts.deadline_seconds
    assert len(found.rejected) == len(offers) - 1 and all(other.why for other in found.rejected)


NOWHERE = Allowance(providers=frozenset())
"""The rule of a key whose photos stay."""


def test_a_rule_stands_above_what_the_request_wishes() -> None:
    for wish in (Fallback.ALLOW, Fallback.ONLY):
        with pytest.raises(RouteForbiddenError, match="keeps edits on this machine"):
            decided(beyond(fallback=wish, allowance=NOWHERE), (NANO, QWEN))
    with pytest.raises(RouteForbiddenError):
        decided(asked(model="central", allowance=NOWHERE))
    here = decided(asked(allowance=NOWHERE))
    assert here.offer is NANO and "API key" in {other.offer.name: other.why for other in here.rejected}["bfl"]
    some = Allowance(providers=frozenset(("bfl", "faces")))
    assert decided(beyond("composition", allowance=some), (NANO, QWEN, KONTEXT)).offer is KONTEXT
    assert decided(beyond("composition", fallback=Fallback.NEVER, allowance=Allowance())).offer is DREAM


def test_what_is_left_to_spend() -> None:
    left = Allowance(usd=0.03)
    assert decided(beyond("retouch", allowance=left), (NANO, QWEN, UMO)).offer is QWEN
    with pytest.raises(RouteSpentError, match=r"has \$0.02 left to spend"):
        decided(beyond(allowance=Allowance(usd=0.02)), (NANO, QWEN))
    free = replace(QWEN, price_usd=0.0)
    assert decided(beyond(allowance=Allowance(usd=0.0)), (NANO, free)).offer is free
    with pytest.raises(OptionError):
        Allowance(usd=-0.01)


def test_what_was_passed_on_stays() -> None:
    assert decided(beyond(hops=MAX_HOPS - 1), (NANO, QWEN)).offer is QWEN
    with pytest.raises(RouteForbiddenError, match="passed on twice"):
        decided(beyond(hops=MAX_HOPS), (NANO, QWEN))
    assert decided(asked(hops=MAX_HOPS), (NANO, QWEN)).offer is NANO
    assert decided(beyond(hops=MAX_HOPS)).offer is DREAM
