"""Learned perceptual distance (Zhang et al. 2018) on AlexNet: its ImageNet weights must lie on this machine.

torchmetrics brings the learned heads, but builds AlexNet with torchvision; its five convolutions are put together here,
so that the weights' file alone is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torchmetrics

from converters.bench.metric import Evidence, Figure, comparable, weights_missing
from converters.bench.photographs import Picture

WEIGHTS: Final = "alexnet-owt-7be5be79.pth"
_TAPS: Final = (1, 4, 7, 9, 11)
_MEAN: Final = (-0.030, -0.088, -0.188)
_SCALE: Final = (0.458, 0.448, 0.450)
_LEAST_PIXELS: Final = 64


class _Lpips:
    figure = Figure(unit="", higher_is_better=False, margin=0.002, digits=4)

    def missing(self) -> str | None:
        return weights_missing(weights())

    def measure(self, evidence: Evidence) -> Mapping[str, float]:
        if min(evidence.after.shape[:2]) < _LEAST_PIXELS:
            return {}
        found = comparable(evidence)
        return {f"lpips_{name}": distance(reference, evidence.after) for name, reference in found.items()}


def weights() -> Path:
    """Return where torchvision would have put the backbone."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS


def distance(reference: Picture, picture: Picture) -> float:
    """Return the distance of two pictures uint8 (height, width, 3), 0 for equal ones."""
    layers, heads = _network(weights())
    first, second = _tensor(reference), _tensor(picture)
    total = 0.0
    with torch.inference_mode():
        for number, layer in enumerate(layers):
            first, second = layer(first), layer(second)
            if number in _TAPS:
                gap = torch.square(_unit(first) - _unit(second))
                total += float((gap * heads[_TAPS.index(number)]).sum(1).mean())
    return total


@cache
def _network(path: Path) -> tuple[Any, list[torch.Tensor]]:
    """AlexNet's features as torchvision numbers them, and the head of each tap, (1, channels, 1, 1)."""
    nn = torch.nn
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
    stored = torch.load(path, map_location="cpu", weights_only=True)
    features.load_state_dict({key[9:]: value for key, value in stored.items() if key.startswith("features.")})
    folder = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models"
    learned = torch.load(folder / "alex.pth", map_location="cpu", weights_only=True)
    return features.eval(), [learned[f"lin{number}.model.1.weight"] for number in range(len(_TAPS))]


def _tensor(picture: Picture) -> torch.Tensor:
    plain = torch.from_numpy(np.moveaxis(picture, -1, 0)[None].astype(np.float32) / 127.5 - 1.0)
    return (plain - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_SCALE)[:, None, None]


def _unit(features: torch.Tensor) -> torch.Tensor:
    return features / torch.sqrt(1e-8 + torch.square(features).sum(1, keepdim=True))


METRIC = _Lpips()
