"""The calibration of `beyond`: a temperature and a shift, so that of the instructions for which the network says
0.8, eight in ten do ask for more than the vocabulary has."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from converters.nano_banana.language.examples import Batch
from converters.nano_banana.text import TextPlanner

BINS = 15


@dataclass(frozen=True, slots=True)
class Calibration:
    """What `beyond` is corrected by, sigmoid(scale * logit + shift), and the calibration errors it had and has."""

    scale: float
    shift: float
    error_before: float
    error_after: float


def expected_error(probability: Tensor, truth: Tensor) -> float:
    """Return the expected calibration error of float (n,) against 0 or 1 (n,), in 15 bins of equal width."""
    bins = (probability * BINS).long().clamp(0, BINS - 1)
    gap = torch.zeros(BINS, dtype=torch.float64).index_add(0, bins, (probability - truth).double())
    return float(gap.abs().sum() / len(truth))


def fitted(logits: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return the scale and shift with the highest likelihood for logits (n,) and 0 or 1 (n,)."""
    parameters = torch.tensor([0.0, 0.0], dtype=torch.float64, requires_grad=True)
    logits, truth = logits.double(), truth.double()
    optimizer = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        # exp keeps the order of the logits; the small pull keeps perfect separation finite
        scaled = logits * parameters[0].exp() + parameters[1]
        loss = functional.binary_cross_entropy_with_logits(scaled, truth) + 1e-4 * parameters.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    log_scale, shift = parameters.tolist()
    return torch.tensor(log_scale).exp().item(), shift


@torch.no_grad()
def beyond_logits(planner: TextPlanner, batches: list[Batch]) -> tuple[Tensor, Tensor]:
    """Return the raw logits and the truth, float32 (n,) each."""
    logits = [planner.logits(batch.tokens).beyond for batch in batches]
    return torch.cat(logits).cpu(), torch.cat([batch.beyond for batch in batches]).cpu()


def calibrate(planner: TextPlanner, batches: list[Batch]) -> Calibration:
    """Fit the calibration on labelled phrases that weren't learned and write it into the network."""
    was_training = planner.training
    logits, truth = beyond_logits(planner.eval(), batches)
    scale, shift = fitted(logits, truth)
    before = expected_error(torch.sigmoid(logits), truth)
    after = expected_error(torch.sigmoid(logits * scale + shift), truth)
    planner.beyond_scale.fill_(scale)
    planner.beyond_shift.fill_(shift)
    planner.train(was_training)
    return Calibration(*(round(value, 4) for value in (scale, shift, before, after)))
