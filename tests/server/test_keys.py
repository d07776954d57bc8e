"""API keys as values: their form, their rules, and the words that make them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import OptionError
from server.keys import Rate, Rule, Scope, egress_of, id_of, new_id, new_key, scopes_of, seconds_of

RULES = st.builds(
    Rule,
    scopes=st.frozensets(st.sampled_from(Scope), min_size=1), providers=st.none() | st.frozensets(st.text(max_size=5)),
    usd_per_day=st.none() | st.floats(0, 1e6), usd_per_month=st.none() | st.floats(0, 1e6),
    rate=st.none() | st.builds(Rate, count=st.integers(1, 999), seconds=st.sampled_from((1, 60, 3600, 86400))),
)  # fmt: skip


def test_a_key_names_its_identifier_and_no_two_are_alike() -> None:
    key_id = new_id()
    texts = {new_key(key_id) for _ in range(200)}
    assert len(texts) == 200 and {id_of(text) for text in texts} == {key_id}
    assert all(re.fullmatch(r"ne_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}", text) for text in texts)


@pytest.mark.parametrize("text", ["", "none", "ne_abc_def", "sk-" + "a" * 51, "ne_abcdefgh_" + "a" * 42, "ne_é"])
def test_what_is_no_key(text: str) -> None:
    assert id_of(text) is None


@given(RULES)
def test_rules_are_stored_as_they_are(rule: Rule) -> None:
    assert Rule.from_json(rule.to_json()) == rule


def test_words() -> None:
    assert Rate.parse("60/min") == Rate(count=60, seconds=60) and str(Rate.parse("5/s")) == "5/s"
    assert seconds_of("90d") == 90 * 86_400 and seconds_of("0s") == 0
    assert scopes_of("edit, metrics") == {Scope.EDIT, Scope.METRICS}
    assert egress_of("never") == frozenset() and egress_of("allow") is None
    assert egress_of("central, bfl") == {"central", "bfl"}


@pytest.mark.parametrize("text", ["", "60", "0/min", "-1/s", "60/week", "6e1/s", "1.5/s"])
def test_rates_that_are_none(text: str) -> None:
    with pytest.raises(OptionError, match="60/min"):
        Rate.parse(text)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (seconds_of, "soon"), (seconds_of, "-1d"), (scopes_of, ""), (scopes_of, "edit,admin"), (egress_of, ""),
        (egress_of, "never,central"), (egress_of, "allow,central"), (egress_of, " , "),
    ],
)
def test_words_that_mean_nothing(read, text: str) -> None:
    with pytest.raises(OptionError):
        read(text)


@pytest.mark.parametrize("rule", [{"scopes": frozenset()}, {"usd_per_day": -1.0}, {"usd_per_month": float("nan")}])
def test_rules_that_make_no_sense(rule) -> None:
    with pytest.raises(OptionError):
        Rule(**rule)
