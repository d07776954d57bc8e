"""The restoration network: noise, JPEG blocks, blur, scratches and soft enlargements, by told strengths.

A U-shaped network of dense 3x3 convolutions and ReLU that predicts what to add to the photo. It is one network for all
tasks; the strengths reach every level as a bias per channel. Training is in train_restoration, damage in damage.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from converters.nano_banana.eight_bits import Convolution

TASKS: Final = ("denoise", "deblock", "deblur", "repair", "upscale")
TILE_MULTIPLE_PIXELS: Final = 16
_WIDTHS: Final = (48, 64, 80, 48)
"""Multiples of 16: half precision and 8-bit kernels compute by sixteens."""

_ENCODER: Final = ((48, 48), (64,), (48,), (48,))
_DECODER: Final = ((48, 48), (64,), (64,))
"""Widths inside each block of each level. Two at half size, where edges and textures are; what they cost in weights is
saved where the picture is small."""

_BIAS_FEATURES: Final = 32
_MIDDLE: Final = 128
_CALM_CELL, _CALM_REACH = 4, 5
"""Calm areas are found on a grid of so many pixels, over so many of its cells."""

_CALM_FLOOR: Final = 1e-4
_LEFT_DEVIATION: Final = 5.0
"""Standard deviation in 0..255 of the noise that is thought to be left of noise of deviation 50; chosen on photographs
for training."""

_LEAST_DEVIATION: Final = 0.5
"""The same of what 8-bit arithmetic leaves in calm areas, whatever the task: half a grey level, which nobody sees."""


class Block(nn.Module):
    """Two 3x3 convolutions around a ReLU, added to their input."""

    def __init__(self, width: int, inside: int) -> None:
        super().__init__()
        self.first = Convolution(width, inside, 3, padding=1)
        self.second = Convolution(inside, width, 3, padding=1, rounds_result=True)

    def forward(self, features: Tensor) -> Tensor:
        """Return the same shape as features (batch, width, height, width in pixels)."""
        changed: Tensor = self.second(functional.relu(self.first(features)))
        return features + changed


class Rise(nn.Module):
    """To twice the size and another width: a 1x1 convolution, then each pixel four times.

    In ONNX Runtime's int8 form this is 1.25 times as fast, over the whole network, as depth to space or a transposed
    convolution, which does not quantise there at all.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.narrow = Convolution(before, after, 1, rounds_result=True)

    def forward(self, features: Tensor, bias: Tensor) -> Tensor:
        """Return (batch, after, 2 height, 2 width); bias (batch, after, 1, 1) is added while the picture is small."""
        return functional.interpolate(self.narrow(features) + bias, scale_factor=2.0, mode="nearest")


def _levels(widths: Sequence[int], inside: Sequence[Sequence[int]]) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(*(Block(width, each) for each in level)) for width, level in zip(widths, inside, strict=False)
    )


class RestorationNet(nn.Module):
    """Float form, for training: photos in 0..1, any batch, sides a multiple of TILE_MULTIPLE_PIXELS.

    The network sees photos around their middle, so that no plane is mostly an offset.
    """

    def __init__(self) -> None:
        super().__init__()
        self.widths = widths = _WIDTHS
        self.middle, self.rounding = _MIDDLE / 255, 0.0
        steps = list(zip(widths, widths[1:], strict=False))
        self.stem = nn.Conv2d(3, widths[0], 4, stride=2, padding=1)
        self.falls = nn.ModuleList(
            Convolution(high, low, 2, stride=2, rounds_result=True) for high, low in steps
        )
        self.encoder = _levels(widths, _ENCODER)
        self.rises = nn.ModuleList(Rise(low, high) for high, low in steps)
        self.decoder = _levels(widths, _DECODER)
        self.head = nn.Conv2d(widths[0], 12, 3, padding=1)
        self.told = nn.Linear(len(TASKS), _BIAS_FEATURES)
        self.biases = nn.Linear(_BIAS_FEATURES, sum(widths) + sum(widths[:-1]))
        self._begin()

    @torch.no_grad()
    def _begin(self) -> None:
        """Make activations about 1 and changes small.

        With smaller activations, and so without normalisation, Adam's steps kill the ReLUs of the deep levels for good.
        """
        for name, value in self.named_parameters():
            if name.endswith("bias"):
                value.zero_()
            elif value.ndim == 4:
                gain = 2.0 if name.endswith("first.weight") else 1.0
                value.normal_(std=(gain / value[0].numel()) ** 0.5)
        self.stem.weight *= 4
        self.head.weight *= 0.02
        self.biases.weight *= 0.3
        for block in self.blocks():
            block.second.weight *= 0.1

    def blocks(self) -> list[Block]:
        """Return all blocks, those of the encoder first."""
        return [module for module in self.modules() if isinstance(module, Block)]

    def forward(self, photos: Tensor, strengths: Tensor) -> Tensor:
        """Return the restored photos, not clamped.

        photos: float32 (batch, 3, height, width) in 0..1. strengths: float32 (batch, len(TASKS)) in 0..1, in the order
        of TASKS.
        """
        centred = photos - self.middle
        downwards, upwards = self._split_biases(self.biases(functional.relu(self.told(strengths))))
        features = self.encoder[0](self.stem(centred) + downwards[0])
        passed = []
        for fall, block, bias in zip(self.falls, list(self.encoder)[1:], downwards[1:], strict=True):
            passed.append(features)
            features = block(fall(features) + bias)
        for level in reversed(range(len(self.rises))):
            features = self.decoder[level](passed[level] + self.rises[level](features, upwards[level]))
        return centred + functional.pixel_shuffle(self.head(features), 2) + (self.middle + self.rounding)

    def _split_biases(self, flat: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return one (batch, width, 1, 1) per level of the encoder and per level of the decoder."""
        parts = torch.split(flat[:, :, None, None], [*self.widths, *self.widths[:-1]], 1)
        return list(parts[: len(self.widths)]), list(parts[len(self.widths) :])

    def for_bytes(self) -> RestorationNet:
        """Return a copy that takes photos in 0..255 and returns them so, raised by a half, for rounding by truncation.

        The factors are part of its first and last weights. What its first convolution reads is whole numbers in
        -128..127, which 8 bits hold exactly.
        """
        scaled = deepcopy(self)
        scaled.middle, scaled.rounding = float(_MIDDLE), 0.5
        with torch.no_grad():
            scaled.stem.weight.div_(255)
            for value in scaled.head.parameters():
                value.mul_(255)
        return scaled


class Calm(nn.Module):
    """Evens out what is calm: a guided filter of each channel by itself (He et al. 2013) with coefficients on a coarser
    grid (He and Sun 2015). No weights.

    Where what the network gives varies less than noise that it may have left, it is replaced by its mean around; where
    it varies more, it stays. A small network sees too little of a sky to do that itself.
    """

    cells: Tensor
    row: Tensor
    column: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("cells", torch.full((6, 1, _CALM_CELL, _CALM_CELL), _CALM_CELL**-2), persistent=False)
        # both are named, so that the converter can be told to leave them in float
        self.register_buffer("row", torch.full((6, 1, 1, _CALM_REACH), 1 / _CALM_REACH), persistent=False)
        self.register_buffer("column", torch.full((6, 1, _CALM_REACH, 1), 1 / _CALM_REACH), persistent=False)

    def forward(self, photo: Tensor, deviation: Tensor) -> Tensor:
        """Return float32 like photo, (1, 3, height, width) in 0..255; sides are multiples of 4.

        deviation: float32 (1, 1, 1, 1), the standard deviation of noise that may be left, in 0..255; at 0 nothing
        changes.
        """
        moments = functional.conv2d(torch.cat([photo, photo * photo], 1), self.cells, stride=_CALM_CELL, groups=6)
        mean, square = torch.split(self._around(moments), 3, 1)
        variance = functional.relu(square - mean * mean)
        kept = (variance + _CALM_FLOOR) / (variance + _CALM_FLOOR + deviation * deviation)
        kept, rest = torch.split(self._around(torch.cat([kept, (1 - kept) * mean], 1)), 3, 1)
        return _risen(kept) * photo + _risen(rest)

    def _around(self, planes: Tensor) -> Tensor:
        """Return means over _CALM_REACH cells in both directions, float32 (1, 6, rows, columns)."""
        padded = functional.pad(planes, (_CALM_REACH // 2,) * 4, mode="replicate")
        return functional.conv2d(functional.conv2d(padded, self.row, groups=6), self.column, groups=6)


def _risen(planes: Tensor) -> Tensor:
    return functional.interpolate(planes, scale_factor=float(_CALM_CELL), mode="bilinear", align_corners=False)


class Restore(nn.Module):
    """The form that is exported; height and width are multiples of TILE_MULTIPLE_PIXELS.

    image: uint8 (1, height, width, 4) RGBA. strengths: float32 (1, len(TASKS)) in 0..1. Returns uint8
    (1, height, width, 4) with alpha copied.
    """

    def __init__(self, net: RestorationNet) -> None:
        super().__init__()
        self.net = net.for_bytes()
        self.calm = Calm()

    def forward(self, image: Tensor, strengths: Tensor) -> Tensor:
        """Return the restored tile; rounding is to nearest."""
        planes = image.permute(0, 3, 1, 2)
        left = (_LEFT_DEVIATION * strengths[:, TASKS.index("denoise")].reshape(1, 1, 1, 1)).clamp(min=_LEAST_DEVIATION)
        restored = self.calm(self.net(planes[:, :3].float(), strengths), left)
        pixels = restored.clamp(0, 255).to(torch.uint8)
        return torch.cat([pixels, planes[:, 3:]], 1).permute(0, 2, 3, 1)


def save(net: RestorationNet, path: Path) -> None:
    """Write the weights as safetensors."""
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, path)


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Return the network's tensors from a file of `save` or from a merged checkpoint ("restore.")."""
    tensors = load_file(path)
    merged = {name: value for name, value in tensors.items() if name.startswith("restore.")}
    return {name.removeprefix("restore."): value for name, value in (merged or tensors).items()}


def load(path: Path) -> RestorationNet:
    """Return the trained network in evaluation mode; see tensors_of."""
    net = RestorationNet()
    net.load_state_dict(tensors_of(path))
    return net.eval()
