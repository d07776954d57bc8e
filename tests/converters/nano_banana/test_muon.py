"""The optimiser for kernels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from converters.nano_banana.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16)])
def test_steps_have_all_directions_alike(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    found = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert found.min() > 0.5
    assert found.max() < 1.5


def test_a_step_is_as_large_as_one_of_adam() -> None:
    torch.manual_seed(0)
    kernel = torch.nn.Parameter(torch.zeros(16, 8, 3, 3))
    kernel.grad = torch.randn(kernel.shape)
    Muon([kernel], rate=0.01).step()
    assert kernel.detach().square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.3)


def test_a_kernel_is_found_again() -> None:
    torch.manual_seed(0)
    wanted, photos = torch.randn(4, 4, 3, 3), torch.randn(8, 4, 12, 12)
    kernel = torch.nn.Parameter(torch.zeros(4, 4, 3, 3))
    optimiser = Muon([kernel], rate=0.2)
    for step in range(200):
        optimiser.param_groups[0]["lr"] = 0.2 * (1 - step / 200)
        kernel.grad = None
        (functional.conv2d(photos, kernel) - functional.conv2d(photos, wanted)).square().mean().backward()
        optimiser.step()
    assert (kernel - wanted).abs().max() < 0.1
