"""Intersection over union of the model's mask of the subject with the one that was given for the photo."""

from __future__ import annotations

from collections.abc import Mapping

from converters.bench.metric import Evidence, Figure
from converters.nano_banana.photos import intersection_over_union


class _MaskIou:
    figure = Figure(unit="", higher_is_better=True, margin=0.01, digits=3)

    def missing(self) -> str | None:
        return None

    def measure(self, evidence: Evidence) -> Mapping[str, float]:
        found, given = evidence.found_subject, evidence.given_subject
        if found is None or given is None or found.shape != given.shape:
            return {}
        return {"mask_iou": intersection_over_union(found > 0.5, given > 0.5)}


METRIC = _MaskIou()
