"""The sinusoids of a timestep, with frequencies to the last bit as torch computes them.

They are multiplied by up to a few thousand: in a graph that computes its own, a wrong last bit costs a factor of 30 in
agreement with torch.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

LONGEST_PERIOD: Final = 10_000


class Sinusoids(nn.Module):
    """Stands in place of diffusers' `Timesteps`, for the models that want cosines first and no shift.

    `frequencies` is a buffer that no checkpoint holds: its values are `timestep_frequencies`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.frequencies: torch.Tensor
        self.register_buffer("frequencies", torch.empty(channels // 2))

    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Return float32 (batch, channels) for timesteps (batch,)."""
        angles = timesteps[:, None] * self.frequencies[None]
        return torch.cat((angles.cos(), angles.sin()), dim=1)


def timestep_frequencies(channels: int) -> NDArray[np.float32]:
    """Return the frequencies of all cosines, which are those of all sines, float32 (channels / 2,)."""
    half = channels // 2
    exponents = -math.log(LONGEST_PERIOD) * torch.arange(half, dtype=torch.float32) / half
    frequencies: NDArray[np.float32] = exponents.exp().numpy()
    return frequencies
