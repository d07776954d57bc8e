"""Training of the text network on instructions drawn from the lexicons, for a given number of minutes.

`python -m converters.nano_banana.train_text --out runs/text --minutes 20 --seed 0 --device cpu --resume` leaves
`text.safetensors` (averaged weights), `log.jsonl` and `checkpoint.pt` in the folder. A tenth of the phrases is held
out to measure on. Most of it joins for the last fifth of the time; a reserve doesn't, so that `beyond` can be
calibrated on it at the end. `--resume` with more minutes trains on; `--start FILE` begins with a trained network, also
one of a smaller vocabulary.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from converters.nano_banana.confidence import calibrate
from converters.nano_banana.language.examples import IGNORED, Batch, Stage, batches, collate
from converters.nano_banana.language.grammar import COUNT_SHARES, Grammar, Instruction
from converters.nano_banana.language.lexicon import Part, languages, load
from converters.nano_banana.language.written import Written
from converters.nano_banana.precision import autocast
from converters.nano_banana.text import BINS, TextLogits, TextPlanner
from converters.nano_banana.warm_start import warm_start

SIMPLE_UNTIL, SIMPLE_UNTIL_STARTED, RELEASED_AT = 0.3, 0.08, 0.8
RATE, STARTED_RATE = 2e-3, 1.2e-3
"""Peak learning rates of a fresh network and of one that knows something already."""

CALIBRATION_BATCHES = 60
WARM_UP_STEPS = 50
AVERAGE_EVERY = 5
LOG_EVERY_SECONDS, SAVE_EVERY_SECONDS, MEASURE_EVERY_SECONDS = 15.0, 60.0, 600.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What a training run is told."""

    out: Path
    minutes: float = 20.0
    seed: int = 0
    device: str = "cpu"
    resume: bool = False
    start: Path | None = None
    rate: float | None = None
    batch: int = 64
    decay: float = 0.02
    averaging: float = 0.985
    measured: int = 250
    calibrated: int = CALIBRATION_BATCHES


def loss_of(logits: TextLogits, batch: Batch) -> Tensor:
    """Return the training loss: presence of each cell, strength where present, beyond, colour where given."""
    count = batch.tokens.shape[0]
    presence = functional.cross_entropy(logits.presence.flatten(0, 1), batch.presence.flatten(), reduction="sum")
    present = batch.presence > 0
    wanted = soft_bins(batch.strength[present])
    strength = -(wanted * functional.log_softmax(logits.strength[present], dim=-1)).sum()
    beyond = functional.binary_cross_entropy_with_logits(logits.beyond, batch.beyond, reduction="sum")
    color = functional.cross_entropy(logits.color, batch.color, ignore_index=IGNORED, reduction="sum")
    return (presence + strength + beyond + color) / count


def soft_bins(strength: Tensor) -> Tensor:
    """Return (edits, 20): each strength spread over its two neighbouring levels, so that the mean is exact."""
    place = (strength * BINS - 1).clamp(0, BINS - 1)
    distance = (place.unsqueeze(-1) - torch.arange(BINS, device=place.device)).abs()
    return (1 - distance).clamp_min(0)


@dataclass(frozen=True, slots=True)
class Score:
    """Share of instructions with exactly the right edits, directions, colour and `beyond`; share of right edits
    whose strength is within 0.1."""

    exact: float
    strength: float


@torch.no_grad()
def correct(planner: TextPlanner, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return which instructions are exactly right (batch,), and which of the right edits are right in strength."""
    amounts, _, beyond, color = planner(batch.tokens)
    places = planner.region_of * planner.adjustments + planner.adjustment_of
    amounts = amounts.flatten(1).index_select(1, places)
    sign = torch.where(batch.presence == 2, -1, (batch.presence > 0).long())
    cells = (amounts.sign().long() == sign).all(1)
    colored = (batch.color == IGNORED) | (color.argmax(-1) == batch.color)
    found = (sign != 0) & (amounts.sign().long() == sign)
    near = ((amounts.abs() - batch.strength).abs() <= 0.1)[found]
    return cells & colored & ((beyond > 0.5) == (batch.beyond > 0.5)), near


def measure(planner: TextPlanner, part: Part, device: str, count: int) -> dict[str, Score]:
    """Return scores for each language, single wishes and compound ones, of the grammar and as people wrote them."""
    planner.eval()
    scores = {}
    for language in languages():
        grammar = Grammar(load(language, part), seed=12345)
        drawn: dict[bool, list[Instruction]] = {True: [], False: []}
        while min(map(len, drawn.values())) < count:
            instruction = grammar.draw()
            drawn[instruction.is_single].append(instruction)
        written = Written(language, part, Random(0)).requests
        for kind, single in (("single", True), ("compound", False)):
            theirs = [request for request in written if request.is_single is single]
            for name, instructions in ((kind, drawn[single]), (f"written {kind}", theirs)):
                if instructions:
                    right, near = correct(planner, collate(instructions[:count], device))
                    shares = (round(x.float().sum().item() / max(len(x), 1), 3) for x in (right, near))
                    scores[f"{language} {name}"] = Score(*shares)
    planner.train()
    return scores


class Run:
    """One training run: the network, its average, the optimiser and how far it is."""

    def __init__(self, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.planner = TextPlanner().to(settings.device).train()
        if settings.start is not None:
            warm_start(self.planner, settings.start)
        self.rate = settings.rate or (RATE if settings.start is None else STARTED_RATE)
        self.average = TextPlanner().to(settings.device)
        self.average.load_state_dict(self.planner.state_dict())
        self.optimizer = torch.optim.AdamW(self.groups(), lr=self.rate, betas=(0.9, 0.98), fused=True)
        self.step, self.seconds = 0, 0.0
        settings.out.mkdir(parents=True, exist_ok=True)
        if settings.resume and self.checkpoint.exists():
            self.restore()

    @property
    def checkpoint(self) -> Path:
        """Return where the state is kept."""
        return self.settings.out / "checkpoint.pt"

    @property
    def progress(self) -> float:
        """Return the used share of the time, 0..1."""
        return min(self.seconds / (60 * self.settings.minutes), 1.0)

    @property
    def stage(self) -> Stage:
        """Return what is learned now."""
        if self.progress < (SIMPLE_UNTIL if self.settings.start is None else SIMPLE_UNTIL_STARTED):
            return Stage.SIMPLE
        return Stage.COMPOUND if self.progress < RELEASED_AT else Stage.RELEASED

    def groups(self) -> list[dict[str, Any]]:
        """Return parameter groups: the rarely touched embedding rows learn faster, vectors don't decay."""
        tables = [p for name, p in self.planner.named_parameters() if name.startswith("embedding.") and p.ndim > 1]
        known = {id(p) for p in tables}
        matrices = [p for p in self.planner.parameters() if p.ndim > 1 and id(p) not in known]
        vectors = [p for p in self.planner.parameters() if p.ndim <= 1]
        return [
            {"params": tables, "weight_decay": 0.0, "factor": 2.0},
            {"params": matrices, "weight_decay": self.settings.decay, "factor": 1.0},
            {"params": vectors, "weight_decay": 0.0, "factor": 1.0},
        ]

    def learn(self, batch: Batch) -> float:
        """Take one step and return the loss."""
        warm = min((self.step + 1) / WARM_UP_STEPS, 1.0)
        rate = self.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        with autocast(self.settings.device):
            logits = self.planner.logits(batch.tokens)
        loss = loss_of(logits.float(), batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.planner.parameters(), 2.0)
        self.optimizer.step()
        self.step += 1
        if self.step % AVERAGE_EVERY == 0:
            self.follow()
        return loss.item()

    @torch.no_grad()
    def follow(self) -> None:
        """Move the averaged weights towards the current ones, faster at the beginning."""
        decay = min(self.settings.averaging, (10 + self.step) / (100 + self.step))
        for mean, new in zip(self.average.parameters(), self.planner.parameters(), strict=True):
            mean.lerp_(new, 1 - decay)

    def save(self) -> None:
        """Write the state and the averaged weights; a reader never sees half a file."""
        state = {
            "planner": self.planner.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)
        weights = self.settings.out / "text.safetensors"
        save_file({k: v.cpu().contiguous() for k, v in self.average.state_dict().items()}, f"{weights}.partial")
        os.replace(f"{weights}.partial", weights)

    def restore(self) -> None:
        """Continue where the checkpoint was written."""
        state = torch.load(self.checkpoint, map_location=self.settings.device, weights_only=True)
        self.planner.load_state_dict(state["planner"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]

    def log(self, **values: object) -> None:
        """Append a line to the metric log and show it on stderr with the time left."""
        line = {"step": self.step, "seconds": round(self.seconds), "stage": self.stage.value, **values}
        with (self.settings.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        left = max(60 * self.settings.minutes - self.seconds, 0) / 60
        sys.stderr.write(f"{left:5.1f} min left  {json.dumps(line)}\n")

    def report(self, part: Part) -> None:
        """Measure on phrases that aren't learned and log it."""
        scores = measure(self.average, part, self.settings.device, self.settings.measured)
        self.log(**{part.name.lower(): {name: asdict(score) for name, score in scores.items()}})

    def calibrate(self) -> None:
        """Fit the calibration of `beyond` on phrases that weren't learned and log it."""
        source = batches(Part.RESERVED, COUNT_SHARES, seed=54321, size=self.settings.batch, device=self.settings.device)
        found = calibrate(self.average, [next(source) for _ in range(self.settings.calibrated)])
        self.log(calibration=asdict(found))


def train(settings: Settings) -> TextPlanner:
    """Train until the time is used up and return the averaged network in evaluation mode."""
    run = Run(settings)
    due = {"log": run.seconds + LOG_EVERY_SECONDS, "save": run.seconds + SAVE_EVERY_SECONDS, "measure": 0.0}
    due["measure"] = run.seconds + MEASURE_EVERY_SECONDS
    losses: list[float] = []
    while run.progress < 1:
        stage = run.stage
        unknown = Part.RESERVED if stage is Stage.RELEASED else Part.HELD_OUT
        run.report(unknown)
        seed = settings.seed * 1000 + run.step
        source = batches(stage.part, stage.shares, seed, settings.batch, settings.device)
        while run.progress < 1 and run.stage is stage:
            start = time.monotonic()
            losses.append(run.learn(next(source)))
            run.seconds += time.monotonic() - start
            if run.seconds >= due["log"]:
                run.log(loss=round(sum(losses) / len(losses), 4))
                losses, due["log"] = [], run.seconds + LOG_EVERY_SECONDS
            if run.seconds >= due["measure"]:
                run.report(unknown)
                due["measure"] = run.seconds + MEASURE_EVERY_SECONDS
            if run.seconds >= due["save"]:
                run.save()
                due["save"] = run.seconds + SAVE_EVERY_SECONDS
    run.calibrate()
    run.save()
    run.report(Part.RESERVED)
    return run.average.eval()


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="Train nano-banana's text network.")
    parser.add_argument("--out", type=Path, default=Path("runs/text"), help="folder for weights, log and checkpoint")
    parser.add_argument("--minutes", type=float, default=20.0, help="training time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resume", action="store_true", help="continue from the folder's checkpoint")
    parser.add_argument("--start", type=Path, help="safetensors file of a trained network to begin with")
    parser.add_argument("--rate", type=float, help="peak learning rate; lower ones change a trained network less")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    train(Settings(**vars(arguments)))


if __name__ == "__main__":
    main()
