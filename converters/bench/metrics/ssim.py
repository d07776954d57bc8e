"""Structural similarity (Wang et al. 2004), scikit-image's, with the paper's Gaussian window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from skimage.metrics import structural_similarity

from converters.bench.metric import Evidence, Figure, comparable

_WINDOW_PIXELS: Final = 11


class _Ssim:
    figure = Figure(unit="", higher_is_better=True, margin=0.002, digits=4)

    def missing(self) -> str | None:
        return None

    def measure(self, evidence: Evidence) -> Mapping[str, float]:
        if min(evidence.after.shape[:2]) < _WINDOW_PIXELS:
            return {}
        return {
            f"ssim_{name}": float(
                structural_similarity(
                    reference, evidence.after, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5,
                    use_sample_covariance=False,
                )
            )
            for name, reference in comparable(evidence).items()
        }  # fmt: skip


METRIC = _Ssim()
