"""What had to stay: PSNR between photo and result where nothing may change. Doing nothing is best here, only here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from converters.bench.metric import Evidence, Figure
from converters.bench.metrics.psnr import psnr

_LEAST_SHARE: Final = 0.01
"""A region smaller than this says nothing about the photo."""


class _Preservation:
    figure = Figure(unit="dB", higher_is_better=True, margin=0.1)

    def missing(self) -> str | None:
        return None

    def measure(self, evidence: Evidence) -> Mapping[str, float]:
        if evidence.kept is None or evidence.after.shape != evidence.before.shape:
            return {}
        inside = evidence.kept > 0.5
        if inside.mean() < _LEAST_SHARE:
            return {}
        return {"preservation": psnr(evidence.before[inside], evidence.after[inside])}


METRIC = _Preservation()
