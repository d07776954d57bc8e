"""Muon (Jordan et al. 2024): momentum whose every step is made orthogonal, so that no direction of a layer is left
behind. For the kernels inside a network; biases, first and last layers are for AdamW.

On the restoration network it gave a little more in the same minutes than AdamW, its own cost of a twentieth included.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5
_AS_LARGE_AS_ADAM: Final = 0.2
"""Root mean square of a step over the rate (Liu et al. 2025), so that rates mean what they mean for AdamW."""


class Muon(torch.optim.Optimizer):
    """The optimiser; each weight is taken as a matrix, outputs by all else."""

    def __init__(
        self, kernels: Iterable[Tensor], *, rate: float, momentum: float = 0.95, decay: float = 1e-4
    ) -> None:
        super().__init__(kernels, {"lr": rate, "momentum": momentum, "decay": decay, "share": 1.0})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every kernel that has a gradient."""
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is not None:
                    change = orthogonal(self._direction(kernel, group["momentum"]).flatten(1))
                    scale = _AS_LARGE_AS_ADAM * max(change.shape) ** 0.5
                    kernel.mul_(1 - group["lr"] * group["decay"])
                    kernel.add_(change.view(kernel.shape), alpha=-group["lr"] * scale)

    def _direction(self, kernel: Tensor, momentum: float) -> Tensor:
        """Return Nesterov's momentum."""
        assert kernel.grad is not None
        state = self.state[kernel]
        if not state:
            state["mean"] = torch.zeros_like(kernel)
        mean: Tensor = state["mean"]
        mean.mul_(momentum).add_(kernel.grad)
        direction: Tensor = kernel.grad.add(mean, alpha=momentum)
        return direction


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix with the same directions whose singular values are about 1, by Newton and Schulz's iteration."""
    first, third, fifth = _COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    result: Tensor = wide.bfloat16()
    result = result / (result.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        square = result @ result.T
        result = first * result + (third * square + fifth * square @ square) @ result
    return (result if wide is matrix else result.T).to(matrix.dtype)
