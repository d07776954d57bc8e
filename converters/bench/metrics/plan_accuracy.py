"""Is the plan right? 1 when its adjustments, their signs and regions are those of a plan that is right, else 0.

Of a request that no adjustment can do, the right answer is to say so; what was changed is a matter of `preservation`.
"""

from __future__ import annotations

from collections.abc import Mapping

from converters.bench.metric import Evidence, Figure
from converters.bench.suite import cells
from edge_runtime.editor import BEYOND_THRESHOLD


class _PlanAccuracy:
    figure = Figure(unit="", higher_is_better=True, margin=0.01, digits=3)

    def missing(self) -> str | None:
        return None

    def measure(self, evidence: Evidence) -> Mapping[str, float]:
        plan = evidence.plan
        if plan is None:
            return {}
        if not evidence.case.plan:
            return {"plan_accuracy": float(plan.beyond >= BEYOND_THRESHOLD)}
        return {"plan_accuracy": float(cells(plan) in evidence.case.accepted)}


METRIC = _PlanAccuracy()
