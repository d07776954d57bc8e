"""Training of the subject mask network for a given number of minutes.

`python -m converters.nano_banana.train_vision --data FOLDER --out runs/vision --minutes 75 --resume` leaves
`vision.safetensors` (averaged weights), `metrics.jsonl` and `checkpoint.pt` in the run's folder. `--start FILE` begins
a new run from the weights in a safetensors file instead of random ones, with a fresh optimiser, a lower rate and mostly
full-size pictures.

Learning rate and picture size follow the used fraction of the time, so the budget holds on any machine and a stopped
run goes on where it was (--resume). A worker process makes the batches; the trainer is one thread, because on two
shared cores a second one mostly waits for the first. Held-out results are logged and never used to choose weights.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from converters.nano_banana.allocator import keep_large_buffers
from converters.nano_banana.augmentation import Augmenter
from converters.nano_banana.outlines import HELD_OUT_OF_KIND
from converters.nano_banana.photos import (
    Pictures,
    Pixels,
    cached_training_pictures,
    held_out_pictures,
    intersection_over_union,
)
from converters.nano_banana.precision import autocast
from converters.nano_banana.vision import PHOTO_SIDE_PIXELS, SubjectNet, save, start_from

_SIDES: Final = ((0.38, 160), (0.74, 192), (1.0, PHOTO_SIDE_PIXELS))
_WARM_SIDES: Final = ((0.3, 192), (0.65, 224), (1.0, PHOTO_SIDE_PIXELS))
_LEARNING_RATE: Final = 3e-3
_WARM_LEARNING_RATE: Final = 1.2e-3
_WARM_UP_STEPS: Final = 150
_EMA_DECAY: Final = 0.998
_SECONDS_BETWEEN_CHECKPOINTS: Final = 120.0
_SECONDS_BETWEEN_LOG_LINES: Final = 15.0
_EVALUATIONS: Final = 8
_REPORTED: Final = {"people": "ccp", "cats": "feral_cat", **{kind: kind for kind in HELD_OUT_OF_KIND}}


@dataclass(frozen=True)
class Settings:
    """A training run. minutes counts training only, over all resumed parts; start is a safetensors file."""

    data: Path
    out: Path
    minutes: float = 75.0
    seed: int = 0
    device: str = "cpu"
    resume: bool = False
    batch: int = 16
    threads: int = 1
    start: Path | None = None

    @property
    def sides(self) -> tuple[tuple[float, int], ...]:
        """The pictures' sides in pixels, each up to a used fraction of the time."""
        return _WARM_SIDES if self.start else _SIDES

    @property
    def peak_rate(self) -> float:
        """The highest learning rate."""
        return _WARM_LEARNING_RATE if self.start else _LEARNING_RATE


class Run:
    """The state of a training run that a checkpoint holds."""

    def __init__(self, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.net = (start_from(settings.start) if settings.start else SubjectNet()).to(settings.device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(self.net).eval()
        self.optimiser = torch.optim.AdamW(_parameter_groups(self.net), lr=_LEARNING_RATE)
        self.seconds, self.steps, self.samples = 0.0, 0, 0

    @property
    def fraction(self) -> float:
        """The used part of the time, 0..1."""
        return min(1.0, self.seconds / (60 * self.settings.minutes))

    def step(self, photos: Tensor, masks: Tensor) -> float:
        """Update from a batch of the Augmenter; returns its loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.fraction, self.steps, self.settings.peak_rate)
        device = self.settings.device
        photos = photos.to(device, torch.float32, memory_format=torch.channels_last)
        masks = masks.to(device, torch.float32) / 255
        with autocast(device):
            fine, coarse = self.net.heads(photos)
        fine, coarse = fine.float(), coarse.float()
        loss = mask_loss(fine, masks[:, :2], masks[:, 2]) + 0.4 * coarse_loss(coarse, masks[:, :2], masks[:, 2])
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.optimiser.step()
        self.steps += 1
        self.samples += len(photos)
        self._update_average()
        return float(loss.detach())

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(_EMA_DECAY, (1 + self.steps) / (10 + self.steps))
        averaged = self.average.state_dict()
        for name, value in self.net.state_dict().items():
            if value.is_floating_point():
                averaged[name].lerp_(value, 1 - decay)

    def store(self) -> None:
        """Write checkpoint.pt and vision.safetensors, each whole or not at all."""
        out = self.settings.out
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": (self.seconds, self.steps, self.samples),
        }
        torch.save(state, out / "checkpoint.partial")
        (out / "checkpoint.partial").replace(out / "checkpoint.pt")
        save(self.average, out / "vision.partial")
        (out / "vision.partial").replace(out / "vision.safetensors")

    def restore(self) -> None:
        """Go back to the last checkpoint."""
        state = torch.load(self.settings.out / "checkpoint.pt", weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.seconds, self.steps, self.samples = state["progress"]


def _parameter_groups(net: SubjectNet) -> list[dict[str, object]]:
    """Return weight decay for kernels only."""
    kernels = [value for value in net.parameters() if value.ndim > 1]
    rest = [value for value in net.parameters() if value.ndim <= 1]
    return [{"params": kernels, "weight_decay": 0.03}, {"params": rest, "weight_decay": 0.0}]


def learning_rate(fraction: float, steps: int, peak: float = _LEARNING_RATE) -> float:
    """Return a linear warm-up by steps times a cosine over the used fraction of the time."""
    warm = min(1.0, (steps + 1) / _WARM_UP_STEPS)
    return peak * warm * (0.003 + 0.997 * 0.5 * (1 + math.cos(math.pi * fraction)))


def side_at(fraction: float, sides: tuple[tuple[float, int], ...] = _SIDES) -> int:
    """Return the pictures' side in pixels at a used fraction of the time."""
    return next(side for end, side in sides if fraction <= end)


def mask_loss(logits: Tensor, masks: Tensor, skin_known: Tensor) -> Tensor:
    """Return cross entropy, edges three times, plus Dice, of both masks; skin is small, so its Dice counts three times.

    logits, masks: (batch, 2, height, width). skin_known: (batch, height, width), 0 where nobody labelled skin.
    """
    known = _known(skin_known)
    wide = functional.max_pool2d(masks, 5, 1, 2) + functional.max_pool2d(-masks, 5, 1, 2)
    weight = (1 + 2 * wide) * known
    entropy = functional.binary_cross_entropy_with_logits(logits, masks, weight=weight, reduction="none")
    chance = torch.sigmoid(logits) * known
    smooth = masks.shape[2] * masks.shape[3] * 0.002
    shared, joint = (chance * masks).sum((2, 3)), (chance + masks * known).sum((2, 3))
    dice = 1 - (2 * shared + smooth) / (joint + smooth)
    return (entropy.mean((0, 2, 3)) + torch.tensor([0.5, 1.5], device=logits.device) * dice.mean(0)).sum()


def coarse_loss(logits: Tensor, masks: Tensor, skin_known: Tensor) -> Tensor:
    """Return cross entropy against the share of each coarse cell that the masks cover; shapes as for mask_loss."""
    size = logits.shape[2:]
    shares = functional.interpolate(masks, size, mode="area")
    known = functional.interpolate(_known(skin_known), size, mode="area")
    return functional.binary_cross_entropy_with_logits(logits, shares, weight=known)


def _known(skin_known: Tensor) -> Tensor:
    """Return weights (batch, 2, height, width): subjects are known everywhere."""
    return torch.stack([torch.ones_like(skin_known), skin_known], 1)


@torch.no_grad()
def mean_iou(net: SubjectNet, pictures: list[Pixels], mask: int = 0) -> float:
    """Return the mean IoU per picture of the mask at threshold 0.5; where there is no skin, that picture counts not.

    pictures: planes as `photos.decode` returns them. mask: index in MASK_NAMES.
    """
    scores = []
    for planes in pictures:
        truth = planes[3 + mask] > 127
        if mask and not truth.any():
            continue
        logits = net(torch.from_numpy(planes[None, :3]).float())
        scores.append(intersection_over_union((logits[0, mask] > 0).numpy(), truth))
    return float(np.mean(scores))


class Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless batches of the Augmenter; `side` may change while a worker makes them."""

    def __init__(self, pictures: Pictures, count: int, seed: int, side: int = _SIDES[0][1]) -> None:
        self.augmenter = Augmenter(pictures, torch.Generator().manual_seed(seed))
        self.count = count
        self.side = torch.tensor(side)
        self.side.share_memory_()  # type: ignore[no-untyped-call]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield self.augmenter.batch(self.count, int(self.side))


def timed(run: Run, source: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches until the time is used up; keeps run.seconds and the pictures' size."""
    started, before = time.monotonic(), run.seconds
    source.side.fill_(side_at(run.fraction, run.settings.sides))
    for photos, masks in DataLoader(source, batch_size=None, num_workers=1, prefetch_factor=3):
        yield photos, masks
        run.seconds = before + time.monotonic() - started
        if run.fraction >= 1:
            return
        source.side.fill_(side_at(run.fraction, run.settings.sides))


def train(settings: Settings) -> Path:
    """Train and return the file with the averaged weights."""
    torch.set_num_threads(settings.threads)
    settings.out.mkdir(parents=True, exist_ok=True)
    run = Run(settings)
    if settings.resume and (settings.out / "checkpoint.pt").exists():
        run.restore()
    pictures = cached_training_pictures(settings.data, settings.out / "pictures.npz")
    held_out = {name: planes for name, group in _REPORTED.items() if (planes := _held_out(settings.data, group))}
    source = Batches(pictures, settings.batch, settings.seed + run.steps)
    stored = logged = run.seconds
    evaluated = int(run.fraction * _EVALUATIONS)
    losses: list[float] = []
    for photos, masks in timed(run, source):
        losses.append(run.step(photos, masks))
        if run.seconds - logged > _SECONDS_BETWEEN_LOG_LINES:
            _log(run, loss=float(np.mean(losses)))
            logged, losses = run.seconds, []
        if run.seconds - stored > _SECONDS_BETWEEN_CHECKPOINTS:
            run.store()
            stored = run.seconds
        if int(run.fraction * _EVALUATIONS) > evaluated:
            evaluated = int(run.fraction * _EVALUATIONS)
            _log(run, **_evaluated(run.average, held_out, people=3))
    run.store()
    _log(run, **_evaluated(run.average, held_out))
    return settings.out / "vision.safetensors"


def _evaluated(net: SubjectNet, held_out: dict[str, list[Pixels]], people: int = 1) -> dict[str, float]:
    """Return the mean IoU of each group, of skin, and of all other kinds together; every n-th of the people."""
    scores = {name: mean_iou(net, planes[:: people if name == "people" else 1]) for name, planes in held_out.items()}
    if "people" in held_out:
        scores["skin"] = mean_iou(net, held_out["people"][::people], mask=1)
    others = [planes for name in HELD_OUT_OF_KIND for planes in held_out.get(name, [])]
    return {**scores, "others": mean_iou(net, others)} if others else scores


def _held_out(data: Path, group: str) -> list[Pixels]:
    return [planes for _, planes in held_out_pictures(data, group, PHOTO_SIDE_PIXELS)]


def _log(run: Run, **values: float) -> None:
    """One JSON line in metrics.jsonl, one for people on stderr."""
    progress = {"fraction": run.fraction, "seconds": run.seconds, "steps": run.steps, "samples": run.samples}
    record = {**progress, "side": side_at(run.fraction, run.settings.sides), **values}
    with (run.settings.out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    shown = " ".join(f"{name} {value:.4f}" for name, value in values.items())
    left = (60 * run.settings.minutes - run.seconds) / 60
    sys.stderr.write(f"{100 * run.fraction:5.1f} % {left:5.1f} min left, {run.samples} samples, {shown}\n")
    sys.stderr.flush()


def main() -> None:
    """Train from the command line; restarts itself once with an allocator that keeps large buffers."""
    parser = argparse.ArgumentParser(description="Train the subject mask network.")
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/ and seg/")
    parser.add_argument("--out", type=Path, default=Path("runs/vision"), help="folder of the run")
    parser.add_argument("--minutes", type=float, default=75.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--start", type=Path, help="begin with the weights of this safetensors file")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    arguments = parser.parse_args()
    keep_large_buffers("converters.nano_banana.train_vision")
    train(Settings(**vars(arguments)))


if __name__ == "__main__":
    main()
