"""Structural similarity at five scales (Wang et al. 2003), torchmetrics'. Pictures under 161 pixels have no fifth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from converters.bench.metric import Evidence, Figure, comparable
from converters.bench.photographs import Picture

_LEAST_PIXELS: Final = 161


class _MsSsim:
    figure = Figure(unit="", higher_is_better=True, margin=0.002, digits=4)

    def missing(self) -> str | None:
        return None

    def measure(self, evidence: Evidence) -> Mapping[str, float]:
        if min(evidence.after.shape[:2]) < _LEAST_PIXELS:
            return {}
        picture = _tensor(evidence.after)
        with torch.inference_mode():
            return {
                f"ms_ssim_{name}": float(
                    multiscale_structural_similarity_index_measure(picture, _tensor(reference), data_range=1.0)
                )
                for name, reference in comparable(evidence).items()
            }


def _tensor(picture: Picture) -> Any:
    return torch.from_numpy(np.moveaxis(picture, -1, 0)[None].astype(np.float32) / 255.0)


METRIC = _MsSsim()
