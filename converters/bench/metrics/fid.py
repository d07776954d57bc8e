"""Fréchet Inception distance (Heusel et al. 2017) between all results and all of the float parent's, torchmetrics'.

Needs torch-fidelity, which needs torchvision, and the weights of its Inception network on this machine. Of fewer than
some thousand pictures it says little; it is here because people ask for it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from converters.bench.metric import Evidence, Figure, weights_missing
from converters.bench.photographs import Picture

WEIGHTS: Final = "weights-inception-2015-12-05-6726825d.pth"


class _Fid:
    figure = Figure(unit="", higher_is_better=False, margin=1.0)

    def missing(self) -> str | None:
        for library in ("torch_fidelity", "torchvision"):
            if importlib.util.find_spec(library) is None:
                name = library.replace("_", "-")
                return f"the library {name} is not installed; it must be one built for torch {torch.__version__}"
        return weights_missing(_weights())

    def measure(self, evidence: Evidence) -> Mapping[str, float]:
        return {}

    def measure_all(self, pairs: Sequence[tuple[Picture, Picture]]) -> float:
        from torchmetrics.image.fid import FrechetInceptionDistance

        fid = FrechetInceptionDistance(feature_extractor_weights_path=str(_weights()))
        for reference, picture in pairs:
            fid.update(_tensor(reference), real=True)
            fid.update(_tensor(picture), real=False)
        return float(fid.compute())


def _weights() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS


def _tensor(picture: Picture) -> Any:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(picture, -1, 0)[None]))


METRIC = _Fid()
