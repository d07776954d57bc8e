"""Looks: adjustments that are a mix of others, written in `vocabulary.json` as their amounts at strength 1.

The graphs add them with one small matrix product, so a look costs nothing beyond what it consists of.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from converters.nano_banana.vocabulary import indices, vocabulary


def with_mixes(amounts: Tensor) -> Tensor:
    """amounts (R, A) as planned -> (R, A) with every look's mix added, clipped to each adjustment's range."""
    adjustments = vocabulary().adjustments
    matrix = [[look.mix.get(base.name, 0.0) for base in adjustments] for look in adjustments]
    low = amounts.new_tensor([adjustment.low for adjustment in adjustments])
    high = amounts.new_tensor([adjustment.high for adjustment in adjustments])
    mixed = amounts + torch.matmul(amounts, amounts.new_tensor(matrix))
    return torch.minimum(torch.maximum(mixed, low), high)


def with_looks(names: Iterable[str]) -> tuple[str, ...]:
    """Return the adjustments among `names` and the looks that mix one of them in, in the vocabulary's order."""
    wanted = set(names)
    return tuple(a.name for a in vocabulary().adjustments if a.name in wanted or wanted & set(a.mix))


class Amounts:
    """Reads one adjustment's amounts, shaped to broadcast: by default over (R, C, h, w)."""

    def __init__(self, amounts: Tensor, shape: tuple[int, ...] = (-1, 1, 1, 1)) -> None:
        self.amounts, self.shape = amounts, shape

    def __call__(self, name: str) -> Tensor:
        """Return the amounts of `name`."""
        found: Tensor = self.amounts[:, indices()[name]].reshape(self.shape)
        return found
