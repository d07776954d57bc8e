"""The edit plan: which adjustments, how strong, on which region. Plain data, checked on construction.

A `Vocabulary` (read from an artifact's manifest) says which adjustments exist; a `Plan` is a list of `Edit`s
that fit it. No image and no engine here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edge_runtime.errors import PlanError

HEX_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
MAX_EDITS = 64
MASKED = "masked"
"""The region that the user painted."""

ERASING = "inpaint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """One adjustment as the manifest describes it; `low`..`high` is the allowed amount.

    A look is a `mix` of others: their amounts at strength 1, which the graphs add. `takes_color`: its edits have a
    colour.
    """

    name: str
    low: float
    high: float
    default: float
    regions: tuple[str, ...]
    unit: str
    definition: str
    label: Mapping[str, str]
    mix: Mapping[str, float] = field(default_factory=dict)
    takes_color: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """All adjustments in the order of the graphs' `amounts` axis, the regions and the named colours."""

    adjustments: tuple[Adjustment, ...]
    regions: tuple[str, ...]
    colors: Mapping[str, str]
    _index: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {a.name: i for i, a in enumerate(self.adjustments)})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Vocabulary:
        """Read the manifest's `vocabulary` member."""
        adjustments = tuple(
            Adjustment(**{**entry, "regions": tuple(entry["regions"])}) for entry in data["adjustments"]
        )
        return cls(adjustments=adjustments, regions=tuple(data["regions"]), colors=dict(data["colors"]))

    def index(self, name: str) -> int:
        """Return the position of an adjustment; raises PlanError for an unknown name."""
        if not isinstance(name, str) or name not in self._index:
            raise PlanError("unknown adjustment", got=name, allowed=", ".join(self._index), param="plan")
        return self._index[name]

    def adjustment(self, name: str) -> Adjustment:
        """Return the description of an adjustment; raises PlanError for an unknown name."""
        return self.adjustments[self.index(name)]

    def color(self, value: object) -> str:
        """Return `#rrggbb` for a colour name or a hex colour; raises PlanError otherwise."""
        if isinstance(value, str):
            if HEX_COLOR.fullmatch(value):
                return value.lower()
            if value in self.colors:
                return self.colors[value]
        raise PlanError(
            "unknown colour", got=value, allowed="#rrggbb or " + ", ".join(self.colors), param="plan"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One adjustment of a plan. `color` (`#rrggbb`) belongs to those that take one."""

    adjust: str
    amount: float
    region: str = "all"
    color: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the edit as the API shows it, amounts with three decimals."""
        data: dict[str, Any] = {"adjust": self.adjust, "amount": round(self.amount, 3), "region": self.region}
        return data if self.color is None else {**data, "color": self.color}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Edits (their order carries no meaning) and `beyond`, 0..1: how sure it is that more was wanted."""

    edits: tuple[Edit, ...]
    beyond: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return `{"edits": [...], "beyond": 0.02}`."""
        return {"edits": [edit.to_json() for edit in self.edits], "beyond": round(self.beyond, 3)}

    @property
    def regions(self) -> frozenset[str]:
        """Return the regions that the plan names."""
        return frozenset(edit.region for edit in self.edits)


def parse_plan(data: object, vocabulary: Vocabulary) -> Plan:
    """Check a plan given as JSON data; raises PlanError that names the member at fault."""
    if not isinstance(data, Mapping) or not isinstance(data.get("edits"), list):
        raise PlanError(
            "a plan must be an object with a list 'edits'",
            got=data,
            hint='for example {"edits": [{"adjust": "warmth", "amount": 0.4, "region": "all"}]}',
            param="plan",
        )
    if unknown := set(data) - {"edits", "beyond"}:
        named = ", ".join(sorted(unknown))
        raise PlanError("unknown members in the plan", got=named, allowed="edits, beyond", param="plan")
    if len(data["edits"]) > MAX_EDITS:
        raise PlanError("too many edits in the plan", got=len(data["edits"]), allowed=MAX_EDITS, param="plan")
    beyond = _number(data.get("beyond", 0.0), "beyond", 0.0, 1.0)
    return Plan(edits=tuple(_parse_edit(edit, vocabulary) for edit in data["edits"]), beyond=beyond)


def _parse_edit(data: object, vocabulary: Vocabulary) -> Edit:
    if not isinstance(data, Mapping) or not isinstance(data.get("adjust"), str):
        raise PlanError("an edit must be an object with 'adjust' and 'amount'", got=data, param="plan")
    if unknown := set(data) - {"adjust", "amount", "region", "color"}:
        raise PlanError(
            "unknown members in an edit", got=", ".join(sorted(unknown)), allowed="adjust, amount, region, color",
            param="plan",
        )
    adjustment = vocabulary.adjustment(data["adjust"])
    amount = _number(
        data.get("amount", adjustment.default), f"amount of {adjustment.name}", adjustment.low, adjustment.high
    )
    region = data.get("region", adjustment.regions[0])
    if region not in adjustment.regions:
        raise PlanError(
            f"{adjustment.name} can't be applied to this region",
            got=region,
            allowed=", ".join(adjustment.regions),
            param="plan",
        )
    return Edit(adjust=adjustment.name, amount=amount, region=region, color=_edit_color(data, vocabulary))


def _edit_color(data: Mapping[str, Any], vocabulary: Vocabulary) -> str | None:
    if vocabulary.adjustment(data["adjust"]).takes_color:
        return vocabulary.color(data.get("color", "white"))
    if "color" in data:
        allowed = ", ".join(a.name for a in vocabulary.adjustments if a.takes_color)
        raise PlanError("this adjustment takes no colour", got=data["adjust"], allowed=allowed, param="plan")
    return None


def _number(value: object, name: str, low: float, high: float) -> float:
    # compared before it is made a float: an integer of JSON may be too large for one
    if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
        return float(value)
    raise PlanError(f"{name} is out of range", got=value, allowed=f"{low:g} to {high:g}", param="plan")


def within_mask(plan: Plan, vocabulary: Vocabulary) -> Plan:
    """Confine a plan to the user's mask: edits of the whole photo become edits of the masked area where they can.

    Erasing what is marked isn't beyond the model any more.
    """
    edits = tuple(
        replace(edit, region=MASKED)
        if edit.region == "all" and MASKED in vocabulary.adjustment(edit.adjust).regions
        else edit
        for edit in plan.edits
    )
    erases = any(edit.adjust == ERASING for edit in edits)
    return replace(plan, edits=edits, beyond=0.0 if erases else plan.beyond)


def without_mask(plan: Plan) -> Plan:
    """Return the plan without the edits that need a mask."""
    return replace(plan, edits=tuple(edit for edit in plan.edits if edit.region != MASKED))
