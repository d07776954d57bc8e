"""Training of the correction network for a given number of minutes.

`python -m converters.nano_banana.train_correction --data FOLDER --out runs/correction --minutes 10 --resume` leaves
`correction.safetensors` (averaged weights), `metrics.jsonl` and `checkpoint.pt` in the run's folder.

Good photographs are damaged; the network learns the amounts with which the renderer's own curves bring them back.
One thread, and the pictures are small enough to stay in memory. Held-out results are logged, never used to choose.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from converters.nano_banana.constants import LUMA
from converters.nano_banana.correction import GRID_SIDE_PIXELS, GROUPS, MEMBERS, CorrectionNet, places, save
from converters.nano_banana.photos import Labelled, read_colour, split
from converters.nano_banana.tone import to_linear, tone_tables
from converters.nano_banana.tone_damage import Damage, no_damage, random_damage

HELD_OUT: Final = 80
KINDS: Final = {"exposure": "auto_exposure", "cast": "auto_white_balance", "contrast": "auto_contrast"}
"""Kind of damage -> the automatic adjustment that mends it."""

_NOT_A_TARGET: Final = "clothing"
"""Snapshots of clothes on the floor: dull and tinted, so nothing to strive for."""

_STORED_SIDE: Final = 80
_CROP_SIDE: Final = GRID_SIDE_PIXELS
_LEARNING_RATE: Final = 2e-3
_WARM_UP_STEPS: Final = 100
_EMA_DECAY: Final = 0.998
_AMOUNT_COST: Final = 0.01
_CLIPPED: Final = 0.985
_WHOLE: Final = 0.003
_WEIGHT_OF_WHOLE: Final = 3.0
"""Spoiling a good photo is worse than leaving a bad one; below a mean change of _WHOLE nothing was damaged."""

_SECONDS_BETWEEN_CHECKPOINTS: Final = 60.0
_SECONDS_BETWEEN_LOG_LINES: Final = 15.0
_EVALUATIONS: Final = 8
_XYZ: Final = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0178, 0.1098, 0.8730))
"""Linear sRGB to XYZ over its white (IEC 61966-2-1)."""


@dataclass(frozen=True)
class Settings:
    """A training run. minutes counts training only, over all resumed parts."""

    data: Path
    out: Path
    minutes: float = 10.0
    seed: int = 0
    device: str = "cpu"
    resume: bool = False
    batch: int = 32
    threads: int = 1
    held_out: int = HELD_OUT


def render(pictures: Tensor, amounts: Tensor) -> Tensor:
    """Correct encoded RGB (batch, 3, pixels) of 8 bits with amounts (batch, len(MEMBERS)), differentiably."""
    tables = tone_tables(torch.matmul(amounts, places().to(amounts)))
    toned = torch.gather(tables, 2, torch.round(pictures * 255.0).long())
    grey = (toned * toned.new_tensor(LUMA).reshape(1, 3, 1)).sum(1, keepdim=True)
    chroma = toned.amax(1, keepdim=True) - toned.amin(1, keepdim=True)
    vibrance = amounts[:, MEMBERS.index("vibrance")].reshape(-1, 1, 1)
    return (grey + (toned - grey) * (1.0 + vibrance * (1.0 - chroma))).clamp(0.0, 1.0)


def lab(rgb: Tensor) -> Tensor:
    """CIELAB over 100 of encoded RGB, both (batch, 3, pixels)."""
    xyz = torch.matmul(rgb.new_tensor(_XYZ), to_linear(rgb))
    root = torch.where(xyz > 0.008856, xyz.clamp_min(0.008856) ** (1.0 / 3.0), 7.787 * xyz + 16.0 / 116.0)
    x, y, z = root.unbind(1)
    return torch.stack([1.16 * y - 0.16, 5.0 * (x - y), 2.0 * (y - z)], 1)


def distance(ours: Tensor, wanted: Tensor) -> Tensor:
    """Mean colour difference of each picture, (batch,); chroma counts 0.7, as CIEDE2000 discounts it."""
    difference = (lab(ours) - lab(wanted)) * ours.new_tensor([1.0, 0.7, 0.7]).reshape(1, 3, 1)
    return (difference.square().sum(1) + 1e-5).sqrt().mean(1)


def group_mask(name: str) -> Tensor:
    """Return float32 (len(MEMBERS),), 1 for the members of a group."""
    return torch.tensor([float(member in GROUPS[name]) for member in MEMBERS])


def correction_loss(net: CorrectionNet, photos: Tensor, damage: Damage, kind: str) -> Tensor:
    """Return the loss of undoing all damage by all amounts, and one kind of it by its own group alone.

    photos: encoded RGB float32 (batch, 3, _CROP_SIDE, _CROP_SIDE). Whole pictures count more.
    """
    damaged = damage.apply(photos)
    amounts: Tensor = net(damaged)
    everywhere = torch.ones_like(damage.stops, dtype=torch.bool)
    # a quarter of the pixels is enough to compare curves
    originals = photos[:, :, ::2, ::2]
    goal, partly = originals.flatten(2), damage.without(kind, everywhere).apply(originals).flatten(2)
    seen = damaged[:, :, ::2, ::2].flatten(2)
    # what has clipped to white stays white: brought down it is a grey patch, which looks worse than too bright
    white = seen.amin(1, keepdim=True) > _CLIPPED
    goal, partly = torch.where(white, seen, goal), torch.where(white, seen, partly)
    joint = distance(render(seen, amounts), goal)
    alone = distance(render(seen, amounts * group_mask(KINDS[kind]).to(amounts)), partly)
    whole = ((damaged - photos).abs().mean((1, 2, 3)) < _WHOLE).float()
    weight = 1.0 + (_WEIGHT_OF_WHOLE - 1.0) * whole
    return (weight * (joint + 0.7 * alone)).mean() + _AMOUNT_COST * amounts.abs().mean()


def photo_files(data: Path, count: int = HELD_OUT) -> tuple[list[Path], list[Path]]:
    """Return good photographs for training, and `count` held-out ones without near copies in the first list."""
    files = sorted(file for file in (data / "photos").glob("*.jpg") if not file.name.startswith(_NOT_A_TARGET))
    parts = split([Labelled("photos", file) for file in files], count)
    return [item.photo for item in parts[0]], [item.photo for item in parts[1]]


def stored_photos(files: list[Path]) -> Tensor:
    """Return uint8 (photos, 3, _STORED_SIDE, _STORED_SIDE)."""
    return torch.from_numpy(np.stack([read_colour(file, _STORED_SIDE) for file in files])).permute(0, 3, 1, 2)


def batch(stored: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return crops of random photographs, float32 (count, 3, _CROP_SIDE, _CROP_SIDE) in 0..1.

    Half are mirrored; a few are black and white, and a few plain colours or gradients that nothing should be done to.
    """
    chosen = torch.randint(len(stored), (count,), generator=generator)
    spare = stored.shape[2] - _CROP_SIDE
    corners = torch.randint(spare + 1, (count, 2), generator=generator).tolist()
    mirrored = (torch.rand(count, generator=generator) < 0.5).tolist()
    crops = []
    for index, (row, column), mirror in zip(chosen.tolist(), corners, mirrored, strict=True):
        crop = stored[index, :, row : row + _CROP_SIDE, column : column + _CROP_SIDE]
        crops.append(crop.flip(2) if mirror else crop)
    photos = torch.stack(crops).float() / 255.0
    grey = (photos * photos.new_tensor(LUMA).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
    return torch.where(torch.rand(count, 1, 1, 1, generator=generator) < 0.05, grey, photos)


def plain_pictures(count: int, generator: torch.Generator) -> Tensor:
    """Return plain colours and soft gradients, float32 (count, 3, _CROP_SIDE, _CROP_SIDE); they need no correction."""

    def chance(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator)

    colours = (1.5 * chance(3, 1, 2) - 0.25).clamp(0.0, 1.0)
    colours = torch.where(chance(1, 1, 1) < 0.4, colours[:, :1], colours)
    share = chance(1, 1, 1) * (chance(1, 1, 1) < 0.5)
    ramp = torch.linspace(0.0, 1.0, _CROP_SIDE).reshape(1, 1, 1, -1) * share
    row = colours[..., :1] * (1.0 - ramp) + colours[..., 1:] * ramp
    return row.expand(-1, -1, _CROP_SIDE, -1)


class Run:
    """The state of a training run that a checkpoint holds."""

    def __init__(self, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.net = CorrectionNet().to(settings.device)
        self.average = deepcopy(self.net).eval()
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=_LEARNING_RATE, weight_decay=0.05)
        self.seconds, self.steps = 0.0, 0

    @property
    def fraction(self) -> float:
        """The used part of the time, 0..1."""
        return min(1.0, self.seconds / (60 * self.settings.minutes))

    def step(self, photos: Tensor, damage: Damage) -> float:
        """Update from pictures and their damage; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.fraction, self.steps)
        loss = correction_loss(self.net, photos, damage, list(KINDS)[self.steps % len(KINDS)])
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.steps += 1
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
        """Write checkpoint.pt and correction.safetensors, each whole or not at all."""
        out = self.settings.out
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": (self.seconds, self.steps),
        }
        torch.save(state, out / "checkpoint.partial")
        (out / "checkpoint.partial").replace(out / "checkpoint.pt")
        save(self.average, out / "correction.partial")
        (out / "correction.partial").replace(out / "correction.safetensors")

    def restore(self) -> None:
        """Go back to the last checkpoint."""
        state = torch.load(self.settings.out / "checkpoint.pt", weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.seconds, self.steps = state["progress"]


def learning_rate(fraction: float, steps: int) -> float:
    """Return a linear warm-up by steps times a cosine over the used fraction of the time."""
    warm = min(1.0, (steps + 1) / _WARM_UP_STEPS)
    return _LEARNING_RATE * warm * (0.003 + 0.997 * 0.5 * (1 + math.cos(math.pi * fraction)))


def examples(stored: Tensor, settings: Settings, generator: torch.Generator) -> tuple[Tensor, Damage]:
    """Return a batch of pictures and their damage; one in sixteen is plain and stays whole."""
    plain = max(1, settings.batch // 16)
    photos = batch(stored, settings.batch - plain, generator)
    pictures = torch.cat([photos, plain_pictures(plain, generator)]).to(settings.device)
    return pictures, random_damage(len(photos), generator).joined(no_damage(plain), settings.device)


@torch.no_grad()
def held_out_distances(net: CorrectionNet, stored: Tensor, seed: int = 1) -> dict[str, float]:
    """Return mean colour differences (Lab over 100) to the originals, the same damage every time.

    before and after: damaged photographs; undamaged: what correcting whole ones changes.
    """
    size = (_CROP_SIDE, _CROP_SIDE)
    photos = functional.interpolate(stored.float() / 255.0, size, mode="bilinear", antialias=True)
    damaged = random_damage(len(photos), torch.Generator().manual_seed(seed)).apply(photos)

    def error(pictures: Tensor, corrected: bool) -> float:
        amounts = net(pictures) * float(corrected)
        return float(distance(render(pictures.flatten(2), amounts), photos.flatten(2)).mean())

    whole = torch.round(photos * 255.0) / 255.0
    return {"before": error(damaged, False), "after": error(damaged, True), "undamaged": error(whole, True)}


def train(settings: Settings) -> Path:
    """Train and return the file with the averaged weights."""
    torch.set_num_threads(settings.threads)
    settings.out.mkdir(parents=True, exist_ok=True)
    run = Run(settings)
    if settings.resume and (settings.out / "checkpoint.pt").exists():
        run.restore()
    files, held_out_files = photo_files(settings.data, settings.held_out)
    stored, held_out = stored_photos(files), stored_photos(held_out_files)
    generator = torch.Generator().manual_seed(settings.seed + run.steps)
    logged = kept = run.seconds
    evaluated = int(run.fraction * _EVALUATIONS)
    losses: list[float] = []
    while run.fraction < 1:
        started = time.monotonic()
        losses.append(run.step(*examples(stored, settings, generator)))
        run.seconds += time.monotonic() - started
        if run.seconds - logged > _SECONDS_BETWEEN_LOG_LINES:
            _log(run, loss=float(np.mean(losses)))
            logged, losses = run.seconds, []
        if run.seconds - kept > _SECONDS_BETWEEN_CHECKPOINTS:
            run.store()
            kept = run.seconds
        if int(run.fraction * _EVALUATIONS) > evaluated:
            evaluated = int(run.fraction * _EVALUATIONS)
            _log(run, **held_out_distances(deepcopy(run.average).cpu(), held_out))
    run.store()
    return settings.out / "correction.safetensors"


def _log(run: Run, **values: float) -> None:
    """One JSON line in metrics.jsonl, one for people on stderr."""
    record = {"fraction": run.fraction, "seconds": run.seconds, "steps": run.steps, **values}
    with (run.settings.out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    shown = " ".join(f"{name} {value:.4f}" for name, value in values.items())
    sys.stderr.write(f"{100 * run.fraction:5.1f} %, {run.steps} steps, {shown}\n")
    sys.stderr.flush()


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="Train the correction network.")
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/")
    parser.add_argument("--out", type=Path, default=Path("runs/correction"), help="folder of the run")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    train(Settings(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
