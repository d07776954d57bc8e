"""Random weights for tiny models: nothing is trivially zero or one, and nothing explodes."""

from __future__ import annotations

import torch
from torch import nn


def filled(module: nn.Module, seed: int) -> nn.Module:
    """Fill every parameter, norms near one, biases near zero, and return the module in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise * (1.5 / parameter[0].numel()) ** 0.5)
            else:
                centre = 1.0 if parameter.mean() > 0.5 else 0.0  # as the library starts it: a norm's weight, or a bias
                parameter.copy_(centre + 0.1 * noise)
    return module.eval()
