"""Peak signal-to-noise ratio, scikit-image's. Equal pictures count as CEILING_DB, or a mean would be infinite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio

from converters.bench.metric import Evidence, Figure, comparable
from converters.bench.photographs import Picture
from converters.compare import EQUAL_DB

_PEAK: Final = 255


class _Psnr:
    figure = Figure(unit="dB", higher_is_better=True, margin=0.1)

    def missing(self) -> str | None:
        return None

    def measure(self, evidence: Evidence) -> Mapping[str, float]:
        found = comparable(evidence)
        return {f"psnr_{name}": psnr(reference, evidence.after) for name, reference in found.items()}


def psnr(reference: Picture, picture: Picture) -> float:
    """Return decibels, at most EQUAL_DB, for two arrays uint8 of one shape."""
    if mean_squared_error(reference, picture) < np.square(_PEAK) * 10 ** (-EQUAL_DB / 10):
        return EQUAL_DB
    return float(peak_signal_noise_ratio(reference, picture, data_range=_PEAK))


METRIC = _Psnr()
