"""Schedules are diffusers' own, and what isn't known is refused."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.diffusion.schedule import empirical_shift, flow_levels, linear_shift, noise_levels
from edge_runtime.diffusion.settings import Settings
from edge_runtime.errors import ArtifactError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # a scheduler's, NumPy 2
MOST = 1e-6
FLOWS = {
    "exponential": {"use_dynamic_shifting": True, "time_shift_type": "exponential"},
    "linear": {"use_dynamic_shifting": True, "time_shift_type": "linear"},
    "constant": {"use_dynamic_shifting": False, "shift": 3.0},
    "none": {"use_dynamic_shifting": False, "shift": 1.0},
    "terminal": {"use_dynamic_shifting": True, "time_shift_type": "exponential", "shift_terminal": 0.02},
    "constant, terminal": {"use_dynamic_shifting": False, "shift": 3.0, "shift_terminal": 0.02},
}
BETAS = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize(
    ("name", "steps"),  # at a single step the original divides by zero to reach its terminal level
    [(name, steps) for name in FLOWS for steps in (1, 2, 4, 8, 30) if steps > 1 or "terminal" not in name],
)
def test_flow_levels_as_the_original(name, steps):
    from diffusers import FlowMatchEulerDiscreteScheduler

    config, shift = FLOWS[name], 1.7
    scheduler = FlowMatchEulerDiscreteScheduler(**config)
    dynamic = {"mu": shift} if config["use_dynamic_shifting"] else {}
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), **dynamic)
    levels = flow_levels(steps, Settings(config), shift)
    assert levels.shape == (steps + 1,)
    assert np.abs(levels - scheduler.sigmas.numpy()).max() <= MOST


def test_a_single_step_goes_all_the_way():
    for config in FLOWS.values():
        assert np.allclose(flow_levels(1, Settings(config), 1.7), [1, 0])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_karras_sigmas": True}, "use_karras_sigmas"),
        ({"use_dynamic_shifting": True, "time_shift_type": "cubic"}, "cubic"),
        ({}, "shift is missing"),
    ],
)
def test_an_unknown_flow_schedule_is_refused(config, message):
    with pytest.raises(ArtifactError, match=message):
        flow_levels(4, Settings(config), 1.0)


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("steps", [1, 6, 20, 50])
@pytest.mark.parametrize("kind", ["scaled_linear", "linear"])
def test_noise_levels_as_the_original(spacing, steps, kind):
    from diffusers import EulerAncestralDiscreteScheduler

    config = {**BETAS, "beta_schedule": kind, "timestep_spacing": spacing, "steps_offset": 1}
    scheduler = EulerAncestralDiscreteScheduler(**config)
    scheduler.set_timesteps(steps)
    levels = noise_levels(steps, Settings(config))
    assert np.array_equal(levels.times, scheduler.timesteps.numpy())
    assert np.allclose(levels.sigmas, scheduler.sigmas.numpy(), rtol=1e-5, atol=0)
    assert levels.first == pytest.approx(float(scheduler.init_noise_sigma), rel=1e-5)


@pytest.mark.parametrize(
    "members",
    [
        {"beta_schedule": "squaredcos_cap_v2"}, {"timestep_spacing": "random"}, {"rescale_betas_zero_snr": True},
        {"trained_betas": [0.1]},
    ],
    ids=str,
)  # fmt: skip
def test_unknown_noise_levels_are_refused(members):
    with pytest.raises(ArtifactError, match="schedule"):
        noise_levels(4, Settings({**BETAS, "timestep_spacing": "linspace", **members}))


@pytest.mark.parametrize("tokens", [16, 256, 4096, 4300, 4301, 9000])
@pytest.mark.parametrize("steps", [1, 4, 50, 200])
def test_empirical_shift_as_the_original(tokens, steps):
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    assert empirical_shift(tokens, steps) == pytest.approx(compute_empirical_mu(tokens, steps), rel=1e-12)


@pytest.mark.parametrize("tokens", [64, 256, 1000, 4096, 8000])
def test_linear_shift_as_the_original(tokens):
    from diffusers.pipelines.flux.pipeline_flux_kontext import calculate_shift

    config = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
    expected = calculate_shift(tokens, 256, 4096, 0.5, 1.15)
    assert linear_shift(tokens, Settings(config)) == pytest.approx(expected, rel=1e-12)
