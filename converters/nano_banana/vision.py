"""The vision network: a photograph in, a soft mask of its subject out.

SubjectNet is a small U-shaped network of plain convolutions and ReLU, chosen so that it trains on a CPU and gets
faster, not slower, as static INT8. Training lives in train_vision, pictures in photos.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

PHOTO_SIDE_PIXELS: Final = 256
STRIDE: Final = 32
MASK_NAMES: Final = ("subject", "skin")
_WIDTHS: Final = (16, 32, 48, 80, 128)
_BLOCKS: Final = (2, 4, 3)
"""Dense blocks at strides 8, 16 and 32. Most at 16: what a thing is gets decided there, and its weights are few."""

_SURE: Final = 0.98
_SURE_SHARE: Final = 0.05
"""Of the picture: with less that is sure, masks of cats in the woods would lose the cat."""

_ABSENT: Final = 0.1
"""At most, where a place is surely none of the subject's: the white of a window mirrored in a visor is more."""

_DECISION: Final = 2.5
"""Slope at which chances become masks, a half staying a half: what is hardly likely leaves no trace of itself.
`python -m benchmarks.cut_outs` compares artifacts."""

_CELL_PIXELS: Final = 4
_REACH_CELLS: Final = 32
"""How far a thing may reach from what is sure of it: half the picture."""


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution with batch normalisation; the two become one convolution at export."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class DenseBlock(nn.Module):
    """Two dense 3x3 convolutions with a residual connection (He et al. 2016).

    A new one changes nothing (Goyal et al. 2017), so it can be added to a trained network.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = _convolution(channels, channels)
        nn.init.zeros_(self.second.get_parameter("1.weight"))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape, float32 (batch, channels, height, width)."""
        hidden = functional.relu(self.first(features))
        return functional.relu(features + self.second(hidden))


class SeparableBlock(nn.Module):
    """A depthwise 3x3 and a pointwise convolution, for the fine grids where a dense one costs too much."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = _convolution(channels, channels, groups=channels)
        self.pointwise = _convolution(channels, channels, kernel=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape, float32 (batch, channels, height, width)."""
        hidden = functional.relu(self.depthwise(features))
        return functional.relu(features + self.pointwise(hidden))


class Context(nn.Module):
    """Adds a projection of the whole picture's mean features to every place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape, float32 (batch, channels, height, width)."""
        return functional.relu(features + self.project(features.mean((2, 3), keepdim=True)))


class Merge(nn.Module):
    """Brings coarse features up by two, adds the encoder's features of that grid, and mixes both in some blocks.

    The first block is separable where `dense` says so not; all others are dense.
    """

    def __init__(self, coarse: int, skip: int, outputs: int, *, dense: bool, blocks: int = 1) -> None:
        super().__init__()
        self.coarse = _convolution(coarse, outputs, kernel=1)
        self.skip = _convolution(skip, outputs, kernel=1)
        self.mix: nn.Module = DenseBlock(outputs) if dense else SeparableBlock(outputs)
        self.more = nn.Sequential(*(DenseBlock(outputs) for _ in range(blocks - 1)))

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Return features on the grid of `skip`, which has twice the height and width of `coarse`."""
        raised = functional.interpolate(self.coarse(coarse), scale_factor=2.0, mode="bilinear", align_corners=False)
        mixed: Tensor = self.more(self.mix(functional.relu(raised + self.skip(skip))))
        return mixed


class SubjectNet(nn.Module):
    """Logits of the masks in MASK_NAMES for photographs of any side that is a multiple of STRIDE."""

    def __init__(self) -> None:
        super().__init__()
        w2, w4, w8, w16, w32 = _WIDTHS
        self.stem = _convolution(3, w2, stride=2)
        self.down4 = _convolution(w2, w4, stride=2)
        self.stage4 = nn.Sequential(SeparableBlock(w4))
        self.down8 = _convolution(w4, w8, stride=2)
        self.stage8 = nn.Sequential(*(DenseBlock(w8) for _ in range(_BLOCKS[0])))
        self.down16 = _convolution(w8, w16, stride=2)
        self.stage16 = nn.Sequential(*(DenseBlock(w16) for _ in range(_BLOCKS[1])))
        self.down32 = _convolution(w16, w32, stride=2)
        self.stage32 = nn.Sequential(*(DenseBlock(w32) for _ in range(_BLOCKS[2])), Context(w32))
        self.merge16 = Merge(w32, w16, 64, dense=True, blocks=3)
        self.merge8 = Merge(64, w8, 48, dense=False, blocks=2)
        self.merge4 = Merge(48, w4, 32, dense=False)
        self.merge2 = Merge(32, w2, 16, dense=False)
        self.head = nn.Conv2d(16, len(MASK_NAMES), 1)
        self.coarse_head = nn.Conv2d(64, len(MASK_NAMES), 1)

    def heads(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits at full size and at stride 16 for float32 (batch, 3, height, width) photographs in 0..255."""
        at2 = functional.relu(self.stem(photos * (1 / 64) - 2))
        at4 = self.stage4(functional.relu(self.down4(at2)))
        at8 = self.stage8(functional.relu(self.down8(at4)))
        at16 = self.stage16(functional.relu(self.down16(at8)))
        at32 = self.stage32(functional.relu(self.down32(at16)))
        up16 = self.merge16(at32, at16)
        fine = self.head(self.merge2(self.merge4(self.merge8(up16, at8), at4), at2))
        fine = functional.interpolate(fine, scale_factor=2.0, mode="bilinear", align_corners=False)
        return fine, self.coarse_head(up16)

    def forward(self, photos: Tensor) -> Tensor:
        """Return float32 logits (batch, masks, height, width) for photographs (batch, 3, height, width) in 0..255."""
        return self.heads(photos)[0]


class Masks(nn.Module):
    """The form that is exported with both masks: uint8 (1, 256, 256, 3) RGB in, subject and skin out.

    Each is float32 (1, 1, 256, 256) in 0..1; skin is never more than subject. They come from the means over the photo
    and its mirror image, which go through the network as a batch of two.
    """

    def __init__(self, net: SubjectNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """Return the soft masks subject and skin; the photo is stretched to the square, whatever its aspect."""
        pixels = photo.permute(0, 3, 1, 2).float()
        plain, mirrored = torch.split(self.net(torch.cat([pixels, pixels.flip(3)])), 1)
        chance = torch.sigmoid((plain + mirrored.flip(3)) / 2)
        subject = ((filled(attached(chance[:, :1])) - 0.5) * _DECISION + 0.5).clamp(0.0, 1.0)
        return subject, torch.minimum(chance[:, 1:2], subject)


def attached(mask: Tensor) -> Tensor:
    """Return a soft mask (1, 1, height, width) without what hangs on nothing sure: a rocket behind an astronaut.

    Geodesic reconstruction (Vincent 1993) from the sure parts, on cells of a few pixels. A mask that is hardly sure of
    anything stays as it is: its best parts may well be the wrong ones.
    """
    cells = functional.max_pool2d(mask, _CELL_PIXELS, _CELL_PIXELS)
    sure = cells >= _SURE
    return _reached(mask, cells, torch.where(sure.float().mean() < _SURE_SHARE, cells, cells * sure))


def filled(mask: Tensor) -> Tensor:
    """Return a soft mask (1, 1, height, width) whose unsure holes are filled; one that is surely a hole stays.

    The same for what is not the subject: it must hang on a place that surely isn't, or on the picture's edge.
    """
    rest = 1.0 - mask
    cells = functional.max_pool2d(rest, _CELL_PIXELS, _CELL_PIXELS)
    inner = cells.new_zeros(1, 1, cells.shape[2] - 2, cells.shape[3] - 2)
    edge = functional.pad(inner, (1, 1, 1, 1), value=1.0)
    return 1.0 - _reached(rest, cells, cells * torch.maximum((cells >= 1.0 - _ABSENT).to(cells.dtype), edge))


def _reached(mask: Tensor, cells: Tensor, seeds: Tensor) -> Tensor:
    """Return what of the mask, whose highest values by cell are given, hangs on the seeds."""
    for _ in range(_REACH_CELLS):
        seeds = torch.minimum(functional.max_pool2d(seeds, 3, 1, 1), cells)
    return torch.minimum(mask, functional.interpolate(seeds, scale_factor=float(_CELL_PIXELS), mode="nearest"))


def save(net: SubjectNet, path: Path) -> None:
    """Write the weights as safetensors."""
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, path)


def load(path: Path) -> SubjectNet:
    """Return the trained network in evaluation mode, from a file of `save` or from the merged checkpoint."""
    net = SubjectNet()
    net.load_state_dict(_tensors(path))
    return net.eval()


def start_from(path: Path) -> SubjectNet:
    """Return a network to train on, from such a file of this shape or one with fewer dense blocks.

    Further blocks change nothing at first. Raises RuntimeError when the file has other tensors.
    """
    net = SubjectNet()
    net.load_state_dict({**_further_blocks(net), **_tensors(path)})
    return net


def _further_blocks(net: SubjectNet) -> dict[str, Tensor]:
    names = tuple(f"{name}." for name, module in net.named_modules() if isinstance(module, DenseBlock))
    return {name: value for name, value in net.state_dict().items() if name.startswith(names)}


def _tensors(path: Path) -> dict[str, Tensor]:
    tensors = load_file(path)
    merged = {name.removeprefix("vision."): value for name, value in tensors.items() if name.startswith("vision.")}
    return merged or tensors
