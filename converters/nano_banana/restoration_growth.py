"""Starting a training of the restoration network from weights of a smaller or older shape of it.

What the old network did is kept: further blocks begin by adding nothing. Blocks that are narrower inside than before
keep the channels with the largest weights, which is close, and exact where the others were asleep anyway: half of those
on the coarser grids were, after the large steps at the beginning of training.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from converters.nano_banana.restoration import Block, RestorationNet, tensors_of

Inputs = tuple[Tensor, Tensor]
"""Photos and strengths, as the network takes them."""

_LEAST_VARIANCE: Final = 1e-6
_ONE_BLOCK_A_LEVEL: Final = re.compile(r"^((?:en|de)coder\.\d+)\.(first|second)\.")


def start_from(path: Path) -> RestorationNet:
    """Return a network to train on, from a file of `save` or a merged checkpoint, of this shape or one that grew."""
    net = RestorationNet()
    grow(net, tensors_of(path))
    return net


@torch.no_grad()
def grow(net: RestorationNet, old: dict[str, Tensor]) -> None:
    """Copy old weights into a new network; raises RuntimeError when they are of another family of shapes."""
    known = {_ONE_BLOCK_A_LEVEL.sub(r"\1.0.\2.", name): value for name, value in old.items()}
    for name, block in net.named_modules():
        if isinstance(block, Block):
            _fit(name, block, known)
    net.load_state_dict(known)


def _fit(name: str, block: Block, known: dict[str, Tensor]) -> None:
    """Put weights of the block's shape among the known ones: its own, silenced, if it is new."""
    names = {part: f"{name}.{part}" for part in block.state_dict()}
    if names["first.weight"] not in known:
        for value in block.second.parameters():
            value.zero_()
        known.update({names[part]: value for part, value in block.state_dict().items()})
        return
    first, second = known[names["first.weight"]], known[names["second.weight"]]
    if len(first) > block.first.out_channels:
        strength = first.flatten(1).norm(dim=1) * second.transpose(0, 1).flatten(1).norm(dim=1)
        kept = strength.topk(block.first.out_channels).indices.sort().values
        for part, axis in (("first.weight", 0), ("first.bias", 0), ("second.weight", 1)):
            known[names[part]] = known[names[part]].index_select(axis, kept)


@torch.no_grad()
def wake(net: RestorationNet, average: RestorationNet, batches: Sequence[Inputs]) -> int:
    """Begin anew the channels inside blocks that are 0 on all the batches, without effect at first; returns how many.

    A rectified channel that is never above 0 has no gradient and would stay asleep for good. `average`, the mean of the
    weights, gets the new ones too.
    """
    asleep = [highest.amax(0) <= 0 for highest in _measured(net, batches, lambda found: found.amax((0, 2, 3)))]
    for block, channels in zip(net.blocks(), asleep, strict=True):
        block.first.weight[channels] = nn.init.kaiming_normal_(torch.empty_like(block.first.weight))[channels]
        block.second.weight[:, channels] = 0
        _bias(block)[channels] = 0
    moments = _measured(net, batches, lambda found: torch.stack((found, found.square())).mean((1, 3, 4)))
    for block, averaged, channels, each in zip(net.blocks(), average.blocks(), asleep, moments, strict=True):
        _centre(block, channels, *each.mean(0))
        averaged.first.weight[channels] = block.first.weight[channels]
        averaged.second.weight[:, channels] = 0
        _bias(averaged)[channels] = _bias(block)[channels]
    return sum(int(channels.sum()) for channels in asleep)


def _centre(block: Block, channels: Tensor, mean: Tensor, square: Tensor) -> None:
    """Let channels with these moments be above 0 half of the time, with deviation 1: others soon sleep again."""
    deviation = (square - mean * mean).clamp(min=_LEAST_VARIANCE).sqrt()
    block.first.weight[channels] /= deviation[channels][:, None, None, None]
    _bias(block)[channels] = -(mean / deviation)[channels]


def _measured(net: RestorationNet, batches: Sequence[Inputs], measure: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Return, for each block, what is measured inside it before the ReLU, stacked over the batches."""
    found: list[list[Tensor]] = [[] for _ in net.blocks()]

    def noting(notes: list[Tensor]) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda module, inputs, output: notes.append(measure(output))

    hooks = [
        block.first.register_forward_hook(noting(notes)) for block, notes in zip(net.blocks(), found, strict=True)
    ]
    for photos, strengths in batches:
        net(photos, strengths)
    for hook in hooks:
        hook.remove()
    return [torch.stack(notes) for notes in found]


def _bias(block: Block) -> Tensor:
    assert block.first.bias is not None
    return block.first.bias
