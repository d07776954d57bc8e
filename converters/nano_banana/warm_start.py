"""Starting a training of the text network from a trained one, also of a smaller vocabulary: what was learned about
words and about the adjustments that both have is kept."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from converters.nano_banana.text import TextPlanner, cells
from converters.nano_banana.vocabulary import vocabulary

PREFIX = "text."
LIKE = "subject"
"""The region that regions new to the network begin as."""


@torch.no_grad()
def warm_start(planner: TextPlanner, path: Path) -> list[str]:
    """Copy everything that fits from a safetensors file (`text.*` or bare names) and return what doesn't.

    An older network has a cell for each of its regions and adjustments, which are the first ones of the vocabulary.
    """
    old = {name.removeprefix(PREFIX): t for name, t in load_file(path).items() if not name.startswith("vision.")}
    state = planner.state_dict()
    fresh = [name for name, tensor in state.items() if name not in old or old[name].shape != tensor.shape]
    for name, tensor in state.items():
        if name not in fresh:
            tensor.copy_(old[name])
    if old["cell_query"].ndim == 3:
        _copy_cells(planner, old)
    for i, block in enumerate(planner.blocks):
        if f"blocks.{i}.norms.0.weight" in fresh:
            _quieten(block)
    return fresh


def _quieten(block: nn.Module) -> None:
    """Let a further block change little at first, so that what reads its output still understands it."""
    for name, parameter in block.named_parameters():
        if name.startswith(("attention.out.", "perceptron.2.")):
            parameter.zero_()
        elif name.startswith("neighbours."):
            # not to zero: a rectified zero would never learn
            parameter.mul_(0.1)


def _copy_cells(planner: TextPlanner, old: dict[str, Tensor]) -> None:
    """Copy what belongs to regions, adjustments and cells from a network that has all its cells, region by region."""
    regions, adjustments = old["cell_query"].shape[:2]
    like = vocabulary().regions.index(LIKE)
    known = torch.arange(planner.regions).where(torch.arange(planner.regions) < regions, like)
    planner.region_query.copy_(old["region_query"].flatten(0, 1)[known])
    planner.adjustment_query[:adjustments] = old["adjustment_query"].flatten(0, 1)
    weight = old["evidence.weight"].reshape(regions, adjustments, 2, -1)
    bias = old["evidence.bias"].reshape(regions, adjustments, 2)
    for (region, name), i in cells().items():
        r, a = vocabulary().regions.index(region), vocabulary().index(name)
        if a >= adjustments:
            continue
        planner.cell_query[i] = old["cell_query"][known[r], a]
        # evidence isn't shared: words for the subject say nothing for the skin
        if r < regions:
            planner.cell_bias[i] = old["cell_bias"][r, a]
            planner.evidence.weight[2 * i : 2 * i + 2] = weight[r, a]
            planner.evidence.bias[2 * i : 2 * i + 2] = bias[r, a]
