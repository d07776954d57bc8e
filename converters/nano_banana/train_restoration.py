"""Training of the restoration network for a given number of minutes.

`python -m converters.nano_banana.train_restoration --data FOLDER --out runs/restoration --minutes 100 --resume` leaves
`restoration.safetensors` (averaged weights), `metrics.jsonl` and `checkpoint.pt` in the run's folder. `--start FILE`
begins a new run from the weights in a safetensors file, of this shape or a smaller one, with a fresh optimiser and a
lower rate. Channels that fall asleep begin anew now and then. The second half of a run trains on values rounded as the
int8 artifact rounds them.

Learning rate and crop size follow the used fraction of the time, so the budget holds on any machine and a stopped
run goes on where it was (--resume). A worker process makes the batches; the trainer is one thread. Held-out results are
logged and never used to choose weights.
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
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from converters.nano_banana.allocator import keep_large_buffers
from converters.nano_banana.damage import Pixels
from converters.nano_banana.eight_bits import Convolution, train_in_eight_bits
from converters.nano_banana.muon import Muon
from converters.nano_banana.precision import autocast
from converters.nano_banana.restoration import RestorationNet, save
from converters.nano_banana.restoration_crops import Batch, Batches, Crops, decode, photographs, share_of
from converters.nano_banana.restoration_growth import start_from, wake
from converters.nano_banana.restoration_pairs import CONDITIONS, Pair, in_torch, mean_psnr, middle, psnr

_WEIGHTS: Final = "restoration.safetensors"
_SIDES: Final = ((0.6, 96), (1.0, 128))
_LEARNING_RATE: Final = 2e-3
_WARM_LEARNING_RATE: Final = 1.2e-3
_TOLD_LEARNING_RATE: Final = 2.0
_LONGEST_GRADIENT: Final = 0.5
_WARM_UP_STEPS: Final = 250
_EMA_DECAY: Final = 0.999
_LARGEST_ERROR: Final = 0.2
_STEPS_BETWEEN_SNAPSHOTS: Final = 100
_SQUARED_FLOOR: Final = 1e-5
_ROUNDED_FROM: Final = 0.5
"""From this fraction of the time on, convolutions that the artifact holds in 8 bits are trained so."""

_BATCHES_TO_WAKE: Final = 24
_WOKEN_UNTIL: Final = 0.8
"""Until then channels that have fallen asleep begin anew after each evaluation."""

_PARTS: Final = ("net", "average", "kernels", "optimiser")
_SECONDS_BETWEEN_CHECKPOINTS: Final = 120.0
_SECONDS_BETWEEN_LOG_LINES: Final = 30.0
_EVALUATIONS: Final = 16
_EVALUATED: Final = ("noise 25", "JPEG q10", "2x", "clean, light denoise")
_EVALUATED_SIDE: Final = 192


@dataclass(frozen=True)
class Settings:
    """A training run. Minutes count training only, over all resumed parts; start is a safetensors file."""

    data: Path
    out: Path
    minutes: float = 100.0
    seed: int = 0
    device: str = "cpu"
    resume: bool = False
    batch: int = 16
    threads: int = 1
    start: Path | None = None
    rate: float | None = None

    @property
    def peak_rate(self) -> float:
        """The highest learning rate."""
        if self.rate is not None:
            return self.rate
        return _WARM_LEARNING_RATE if self.start else _LEARNING_RATE


class Run:
    """The state of a training run that a checkpoint holds."""

    def __init__(self, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.net = (start_from(settings.start) if settings.start else RestorationNet()).to(settings.device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(self.net).eval()
        kernels, others = _parameter_groups(self.net)
        self.kernels = Muon(kernels, rate=settings.peak_rate)
        self.optimiser = torch.optim.AdamW(others, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
        self.seconds, self.steps, self.samples, self.pace = 0.0, 0, 0, 1.0
        self.snapshot = self._state()

    @property
    def fraction(self) -> float:
        """The used part of the time, 0..1."""
        return min(1.0, self.seconds / (60 * self.settings.minutes))

    def wake(self, crops: Crops) -> int:
        """Begin anew, without effect, the channels that no crop wakes; returns how many."""
        batches = [crops.batch(self.settings.batch, side_at(self.fraction)) for _ in range(_BATCHES_TO_WAKE)]
        woken = wake(self.net, self.average, [self._inputs(batch) for batch in batches])
        self.snapshot = self._state()
        return woken

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        damaged, told = (part.to(self.settings.device, torch.float32) for part in batch[:2])
        return (damaged / 255).contiguous(memory_format=torch.channels_last), told

    def step(self, batch: Batch) -> float:
        """Update from a batch of Crops; returns its mean absolute error in 0..1."""
        for group in [*self.kernels.param_groups, *self.optimiser.param_groups]:
            group["lr"] = group["share"] * self.pace * learning_rate(self.fraction, self.steps, self.settings.peak_rate)
        if self.fraction >= _ROUNDED_FROM:
            train_in_eight_bits(self.net)
        photos, told = self._inputs(batch)
        clean = batch[2].to(self.settings.device, torch.float32)
        with autocast(self.settings.device):
            restored = self.net(photos, told)
        error = restored.float() - clean / 255
        size = float(error.detach().abs().mean())
        if not size < _LARGEST_ERROR:
            self._go_back()
            return size
        self.net.zero_grad()
        loss_of(error).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), _LONGEST_GRADIENT)
        self.kernels.step()
        self.optimiser.step()
        self.steps += 1
        self.samples += len(photos)
        self._update_average()
        if self.steps % _STEPS_BETWEEN_SNAPSHOTS == 0:
            self.snapshot = self._state()
        return size

    def _go_back(self) -> None:
        """Return to the last snapshot, slower from now on: without normalisation a rare step blows the network up."""
        self._set_state(self.snapshot)
        self.pace *= 0.7

    def _state(self) -> dict[str, Any]:
        return deepcopy({name: getattr(self, name).state_dict() for name in _PARTS})

    def _set_state(self, state: dict[str, Any]) -> None:
        for name in _PARTS:
            getattr(self, name).load_state_dict(deepcopy(state[name]))

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(_EMA_DECAY, (1 + self.steps) / (10 + self.steps))
        averaged = self.average.state_dict()
        for name, value in self.net.state_dict().items():
            averaged[name].lerp_(value, 1 - decay)

    def store(self) -> None:
        """Write checkpoint.pt and restoration.safetensors, each whole or not at all."""
        out = self.settings.out
        state = {**self._state(), "progress": (self.seconds, self.steps, self.samples, self.pace)}
        torch.save(state, out / "checkpoint.partial")
        (out / "checkpoint.partial").replace(out / "checkpoint.pt")
        save(self.average, out / "restoration.partial")
        (out / "restoration.partial").replace(out / _WEIGHTS)

    def restore(self) -> None:
        """Go back to the last checkpoint."""
        state = torch.load(self.settings.out / "checkpoint.pt", weights_only=True)
        self._set_state(state)
        self.snapshot = self._state()
        self.seconds, self.steps, self.samples, self.pace = state["progress"]


def _parameter_groups(net: RestorationNet) -> tuple[list[Tensor], list[dict[str, object]]]:
    """Return the kernels inside, and the groups of all else, of which the layers that carry the strengths are a fast
    one: they must tell tasks apart early.
    """
    told = [*net.told.parameters(), *net.biases.parameters()]
    layers = [module for module in net.modules() if isinstance(module, Convolution)]
    inside = [layer.weight for layer in layers]
    chosen = {id(value) for value in (*told, *inside)}
    rest = [value for value in net.parameters() if id(value) not in chosen]
    return inside, [{"params": rest, "share": 1.0}, {"params": told, "share": _TOLD_LEARNING_RATE}]


def learning_rate(fraction: float, steps: int, peak: float = _LEARNING_RATE) -> float:
    """Return a linear warm-up by steps times a cosine over the used fraction of the time."""
    warm = min(1.0, (steps + 1) / _WARM_UP_STEPS)
    return peak * warm * (0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * fraction)))


def side_at(fraction: float) -> int:
    """Return the crops' side in pixels at a used fraction of the time."""
    return next(side for end, side in _SIDES if fraction <= end)


def loss_of(error: Tensor) -> Tensor:
    """Return the mean log of each crop's squared error, which is PSNR: what is faint or flat counts as much as strong
    noise and texture.

    error: (batch, 3, side, side), photos in 0..1.
    """
    return 0.02 * torch.log(error.square().mean((1, 2, 3)) + _SQUARED_FLOOR).mean()


def timed(run: Run, source: Batches) -> Iterator[Batch]:
    """Yield batches until the time is used up; keeps run.seconds and the crops' size."""
    started, before = time.monotonic(), run.seconds
    for batch in DataLoader(source, batch_size=None, num_workers=1, prefetch_factor=3):
        yield batch
        run.seconds = before + time.monotonic() - started
        if run.fraction >= 1:
            return
        source.side.fill_(side_at(run.fraction))


def train(settings: Settings) -> Path:
    """Train and return the file with the averaged weights."""
    torch.set_num_threads(settings.threads)
    settings.out.mkdir(parents=True, exist_ok=True)
    run = Run(settings)
    if settings.resume and (settings.out / "checkpoint.pt").exists():
        run.restore()
    training, held_out = photographs(settings.data)
    shares = [share_of(path) for path in training]
    crops = Crops([decode(path) for path in training], shares, settings.seed + run.steps)
    source = Batches(crops, settings.batch, side_at(run.fraction))
    pairs = _evaluated([decode(path) for path in held_out[::2]])
    before = {name: float(np.mean([psnr(each.damaged, each.clean) for each in group])) for name, group in pairs.items()}
    _log(run, **before)
    _learn(run, source, pairs)
    run.store()
    return settings.out / _WEIGHTS


def _learn(run: Run, source: Batches, pairs: dict[str, list[Pair]]) -> None:
    """Train until the time is used up; logs, measures and stores now and then."""
    stored = logged = run.seconds
    evaluated = int(run.fraction * _EVALUATIONS)
    errors: list[float] = []
    for batch in timed(run, source):
        errors.append(run.step(batch))
        if run.seconds - logged > _SECONDS_BETWEEN_LOG_LINES:
            _log(run, error=float(np.mean(errors)))
            logged, errors = run.seconds, []
        if run.seconds - stored > _SECONDS_BETWEEN_CHECKPOINTS:
            run.store()
            stored = run.seconds
        if int(run.fraction * _EVALUATIONS) > evaluated:
            evaluated = int(run.fraction * _EVALUATIONS)
            _log(run, **_scores(run.average, pairs))
            if run.fraction < _WOKEN_UNTIL:
                _log(run, woken=run.wake(source.crops))


def _evaluated(photos: list[Pixels]) -> dict[str, list[Pair]]:
    """Return pairs by condition, of the middle of each photo."""
    middles = [middle(photo, _EVALUATED_SIDE) for photo in photos]
    return {name: [CONDITIONS[name](photo, seed) for seed, photo in enumerate(middles)] for name in _EVALUATED}


def _scores(net: RestorationNet, pairs: dict[str, list[Pair]]) -> dict[str, float]:
    return {name: mean_psnr(in_torch(net), each) for name, each in pairs.items()}


def _log(run: Run, **values: float) -> None:
    """One JSON line in metrics.jsonl, one for people on stderr."""
    progress = {
        "fraction": run.fraction,
        "seconds": run.seconds,
        "steps": run.steps,
        "samples": run.samples,
        "pace": run.pace,
    }
    record = {**progress, "side": side_at(run.fraction), **values}
    with (run.settings.out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    shown = " ".join(f"{name} {value:.4f}" for name, value in values.items())
    left = (60 * run.settings.minutes - run.seconds) / 60
    sys.stderr.write(f"{100 * run.fraction:5.1f} % {left:5.1f} min left, {run.samples} samples, {shown}\n")
    sys.stderr.flush()


def main() -> None:
    """Train from the command line; restarts itself once with an allocator that keeps large buffers."""
    parser = argparse.ArgumentParser(description="Train the restoration network.")
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/")
    parser.add_argument("--out", type=Path, default=Path("runs/restoration"), help="folder of the run")
    parser.add_argument("--minutes", type=float, default=100.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--start", type=Path, help="begin with the weights of this safetensors file")
    parser.add_argument("--rate", type=float, help="highest learning rate, if not the usual one")
    parser.add_argument("--threads", type=int, default=1, help="beside the worker that makes the crops")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    arguments = parser.parse_args()
    keep_large_buffers("converters.nano_banana.train_restoration")
    train(Settings(**vars(arguments)))


if __name__ == "__main__":
    main()
