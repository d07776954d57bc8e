from __future__ import annotations

import math
from typing import Any

import pytest

from edge_runtime.errors import PlanError
from edge_runtime.plan import Adjustment, Plan, Vocabulary, parse_plan


def adjustment(name: str, low: float = -1.0, regions: tuple[str, ...] = ("all", "background")) -> Adjustment:
    return Adjustment(
        name=name, low=low, high=1.0, default=0.5, regions=regions, unit="", definition="", label={"en": name},
        takes_color=name == "fill",
    )


VOCABULARY = Vocabulary(
    adjustments=(adjustment("warmth"), adjustment("sepia", 0.0), adjustment("fill", 0.0, ("background",))),
    regions=("all", "background"),
    colors={"white": "#ffffff"},
)


def test_a_plan_survives_json() -> None:
    data = {
        "edits": [
            {"adjust": "warmth", "amount": 0.4, "region": "all"},
            {"adjust": "fill", "amount": 1.0, "region": "background", "color": "#ffffff"},
        ],
        "beyond": 0.02,
    }
    assert parse_plan(data, VOCABULARY).to_json() == data


def test_missing_members_take_the_vocabularys_defaults() -> None:
    plan = parse_plan({"edits": [{"adjust": "fill"}]}, VOCABULARY)
    assert plan.to_json()["edits"] == [{"adjust": "fill", "amount": 0.5, "region": "background", "color": "#ffffff"}]


def test_an_empty_plan_is_a_plan() -> None:
    assert parse_plan({"edits": []}, VOCABULARY) == Plan(edits=())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "list 'edits'"),
        ({}, "list 'edits'"),
        ({"edits": {}}, "list 'edits'"),
        ({"edits": [], "more": 1}, "more"),
        ({"edits": [{"adjust": "warmth"}] * 65}, "too many"),
        ({"edits": ["warmth"]}, "'adjust' and 'amount'"),
        ({"edits": [{"adjust": ["warmth"]}]}, "'adjust' and 'amount'"),
        ({"edits": [{"adjust": "heat", "amount": 1}]}, "heat"),
        ({"edits": [{"adjust": "warmth", "amount": 1.01}]}, "1.01"),
        ({"edits": [{"adjust": "sepia", "amount": -0.1}]}, "0 to 1"),
        ({"edits": [{"adjust": "warmth", "amount": "much"}]}, "much"),
        ({"edits": [{"adjust": "warmth", "amount": True}]}, "True"),
        ({"edits": [{"adjust": "warmth", "amount": math.nan}]}, "nan"),
        ({"edits": [{"adjust": "warmth", "amount": 10**400}]}, "range"),
        ({"edits": [{"adjust": "warmth", "region": "sky"}]}, "sky"),
        ({"edits": [{"adjust": "fill", "region": "all"}]}, "background"),
        ({"edits": [{"adjust": "fill", "color": "plaid"}]}, "plaid"),
        ({"edits": [{"adjust": "fill", "color": "#12345"}]}, "#12345"),
        ({"edits": [{"adjust": "warmth", "color": "white"}]}, "colour"),
        ({"edits": [{"adjust": "warmth", "strength": 1}]}, "strength"),
        ({"edits": [], "beyond": 2}, "beyond"),
    ],
)
def test_bad_plans_are_refused_with_the_member_at_fault(data: Any, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        parse_plan(data, VOCABULARY)
    assert message.lower() in str(caught.value).lower()
    assert caught.value.param == "plan"
