"""How noise leaves the picture, step by step: schedules as data, and the two solvers that the families use.

Flow matching (https://arxiv.org/abs/2210.02747): a latent at noise level s is (1 - s) picture + s noise; the model
predicts noise - picture. Ancestral Euler (https://arxiv.org/abs/2206.00364, k-diffusion): the model predicts the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.diffusion.noise import Noise
from edge_runtime.diffusion.settings import Settings
from edge_runtime.errors import ArtifactError

Floats = NDArray[np.float32]
Predict = Callable[[Floats, float], Floats]
"""Latents and the time that the scheduler gives them, 0..1000 -> the model's prediction, of the latents' shape."""

Keep = Callable[[Floats, float], Floats]
"""Latents and their noise level -> latents whose untouchable places are the photo's again."""

_UNKNOWN: Final = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas",
                   "stochastic_sampling")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoised:
    """After a step: the noisy latents, and what the finished picture's latents look like from here."""

    latents: Floats
    clean: Floats


def linear_shift(tokens: int, scheduler: Settings) -> float:
    """Return how far larger pictures move the schedule towards noise: a line through two numbers of tokens."""
    few, many = scheduler.number("base_image_seq_len"), scheduler.number("max_image_seq_len")
    low, high = scheduler.number("base_shift"), scheduler.number("max_shift")
    slope = (high - low) / (many - few)
    return tokens * slope + low - slope * few


def empirical_shift(tokens: int, steps: int) -> float:
    """Return FLUX.2's shift, which also depends on the number of steps (Black Forest Labs, flux2, sampling.py).

    Two lines over the number of tokens were fitted, for 10 and for 200 steps; between them it is interpolated.
    """
    at_200 = 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return at_200
    at_10 = 8.73809524e-05 * tokens + 1.89833333
    slope = (at_200 - at_10) / 190.0
    return slope * steps + at_200 - 200.0 * slope


def flow_levels(steps: int, scheduler: Settings, shift: float) -> Floats:
    """Return the noise levels before every step and 0 at the end, float32 (steps + 1,), falling from 1.

    `shift` counts where the checkpoint's scheduler shifts by the picture's size; else its own constant does.
    """
    if used := [name for name in _UNKNOWN if scheduler.flag(name)]:
        raise ArtifactError("the checkpoint's schedule is of a kind that isn't known", got=", ".join(used))
    levels = np.linspace(1.0, 1 / steps, steps).astype(np.float32)
    if scheduler.flag("use_dynamic_shifting"):
        kind = scheduler.text("time_shift_type")
        if kind not in ("exponential", "linear"):
            raise ArtifactError("the checkpoint's schedule shifts in an unknown way", got=ascii(kind))
        moved = math.exp(shift) if kind == "exponential" else shift
        levels = (moved / (moved + (1 / levels - 1))).astype(np.float32)
    else:
        constant = scheduler.number("shift")
        levels = constant * levels / (1 + (constant - 1) * levels)
    if "shift_terminal" in scheduler:  # the last step begins at this level
        left = 1 - levels
        if left[-1] > 0:
            levels = 1 - left / (left[-1] / (1 - scheduler.number("shift_terminal")))
    return np.append(levels, 0).astype(np.float32)


def flow(
    latents: Floats, levels: Floats, predict: Predict, *, times: float, keep: Keep | None = None
) -> Generator[Denoised, None, Floats]:
    """Solve by Euler's method; yields after every step and returns the last latents. `times` is the time at level 1."""
    for level, following in zip(levels[:-1], levels[1:], strict=True):
        direction = predict(latents, float(np.float32(level) * np.float32(times)))
        clean = latents - level * direction
        latents = latents + (following - level) * direction
        if keep is not None:
            latents, clean = keep(latents, float(following)), keep(clean, 0.0)
        yield Denoised(latents=latents, clean=clean)
    return latents


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseLevels:
    """Of a schedule that adds noise to a picture: standard deviations before every step, 0 at the end, and times.

    `first` is the standard deviation of the noise that a picture is begun with.
    """

    sigmas: Floats
    times: Floats
    first: float


def noise_levels(steps: int, scheduler: Settings) -> NoiseLevels:
    """Read the schedule of Stable Diffusion 1: betas of training, and where between them the steps lie."""
    if scheduler.flag("rescale_betas_zero_snr") or "trained_betas" in scheduler:
        raise ArtifactError(
            "the checkpoint's schedule is of a kind that isn't known", got="rescale_betas_zero_snr or trained_betas"
        )
    trained = scheduler.whole("num_train_timesteps")
    low, high = scheduler.number("beta_start"), scheduler.number("beta_end")
    kind, spacing = scheduler.text("beta_schedule"), scheduler.text("timestep_spacing")
    if kind == "linear":
        betas = np.linspace(low, high, trained, dtype=np.float32)
    elif kind == "scaled_linear":
        betas = np.linspace(low**0.5, high**0.5, trained, dtype=np.float32) ** 2
    else:
        raise ArtifactError("the checkpoint's schedule is of a kind that isn't known", got=ascii(kind))
    kept = np.cumprod(1 - betas, dtype=np.float32).astype(np.float64)
    if spacing == "linspace":
        times = np.linspace(0, trained - 1, steps, dtype=np.float32)[::-1].copy()
    elif spacing == "leading":
        times = (np.arange(steps) * (trained // steps)).round()[::-1].astype(np.float32)
        times += scheduler.whole("steps_offset", least=0, default=0)
    elif spacing == "trailing":
        times = np.arange(trained, 0, -trained / steps).round().astype(np.float32) - 1
    else:
        raise ArtifactError("the checkpoint's schedule spaces its steps in an unknown way", got=ascii(spacing))
    sigmas = np.append(np.interp(times, np.arange(trained), np.sqrt((1 - kept) / kept)), 0).astype(np.float32)
    first = float(sigmas[0])
    if spacing == "leading":  # it begins below the largest level, where something of the picture is left
        first = math.sqrt(first**2 + 1)
    return NoiseLevels(sigmas=sigmas, times=times, first=first)


def ancestral(
    latents: Floats, levels: NoiseLevels, predict: Predict, noise: Noise, *, keep: Keep | None = None
) -> Generator[Denoised, None, Floats]:
    """Solve by Euler's method with fresh noise after every step; `predict` gets latents of unit variance.

    Yields after every step and returns the last latents.
    """
    for sigma, following, time in zip(levels.sigmas[:-1], levels.sigmas[1:], levels.times, strict=True):
        predicted = predict(latents / np.float32(math.sqrt(sigma**2 + 1)), float(time))
        clean = latents - sigma * predicted
        # what is left of the noise, and what is drawn anew, so that both together have the next step's variance
        drawn = np.float32(math.sqrt(following**2 * (sigma**2 - following**2) / sigma**2))
        left = np.float32(math.sqrt(following**2 - drawn**2))
        latents = latents + (latents - clean) / sigma * (left - sigma) + noise.normal(*latents.shape) * drawn
        if keep is not None:
            latents, clean = keep(latents, float(following)), keep(clean, 0.0)
        yield Denoised(latents=latents, clean=clean)
    return latents
