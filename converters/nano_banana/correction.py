"""The correction network: a photograph in, the amounts of exposure, white balance and contrast that it needs out.

CorrectionNet reads fixed statistics (tone curves, percentiles, colour of the light) next to a small convolutional
network, so that it can be trained on few photographs. Training lives in train_correction.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from converters.nano_banana.constants import LUMA
from converters.nano_banana.tone import to_linear
from converters.nano_banana.vocabulary import indices

PHOTO_SIDE_PIXELS: Final = 256
GRID_SIDE_PIXELS: Final = 64

_PARTS: Final = {
    "auto_exposure": ("exposure", "shadows", "highlights"),
    "auto_white_balance": ("warmth", "tint"),
    "auto_contrast": ("contrast", "blacks", "whites"),
}
MEMBERS: Final = (*(name for part in _PARTS.values() for name in part), "vibrance")
"""The adjustments that the network sets, in the order of its outputs."""

GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({**_PARTS, "auto_enhance": MEMBERS})
"""Automatic adjustment -> the members of `corrections` that it adds, times its own amount."""

_BOUNDS: Final = {"vibrance": 0.4}
_DULLING: Final = ("exposure", "whites")
_DEAD_ZONE: Final = 0.04
_LEAK: Final = 0.1
_BINS: Final = 32
_QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_CHROMA_BINS: Final = 16
_CHROMA_STOPS: Final = 1.75
_WIDTHS: Final = (16, 24, 48, 64)
_HIDDEN: Final = (96, 64)
_PREFIX: Final = "correction."


class CorrectionNet(nn.Module):
    """Amounts of MEMBERS for pictures of GRID_SIDE_PIXELS."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *_WIDTHS)
        self.layers = nn.Sequential(*(_halving(a, b) for a, b in zip(widths, widths[1:], strict=False)))
        count = statistics(torch.zeros(1, 3, 8, 8)).shape[1]
        self.normalise = nn.BatchNorm1d(count, affine=False)
        self.dropout = nn.Dropout(0.15)
        self.first = nn.Linear(count + _WIDTHS[-1], _HIDDEN[0])
        self.second = nn.Linear(*_HIDDEN)
        self.head = nn.Linear(_HIDDEN[1], len(MEMBERS))
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        bounds = torch.tensor([_BOUNDS.get(name, 1.0) for name in MEMBERS])
        lowest = torch.tensor([0.0 if name == "vibrance" else -1.0 for name in MEMBERS])
        self.register_buffer("bounds", bounds, persistent=False)
        dulling = torch.tensor([float(name in _DULLING) for name in MEMBERS])
        self.register_buffer("lowest", lowest, persistent=False)
        self.register_buffer("dulling", dulling, persistent=False)

    bounds: Tensor
    lowest: Tensor
    dulling: Tensor

    def forward(self, grid: Tensor) -> Tensor:
        """Return amounts float32 (batch, len(MEMBERS)) for encoded RGB float32 (batch, 3, side, side), 0..1."""
        seen = self.layers(2.0 * grid - 1.0).mean((2, 3))
        known = self.normalise(statistics(grid)).clamp(-5.0, 5.0)
        hidden = functional.relu(self.first(self.dropout(torch.cat([known, seen], 1))))
        raw = torch.tanh(self.head(functional.relu(self.second(hidden))))
        # small doubts become almost nothing, so that good photos stay as they are; the leak keeps them trainable
        calm = raw - (1.0 - _LEAK) * raw.clamp(-_DEAD_ZONE, _DEAD_ZONE)
        amounts = torch.maximum(calm, self.lowest) * self.bounds
        return torch.where(self.dulling * amounts < 0, amounts * untouched_white(grid), amounts)


def untouched_white(grid: Tensor) -> Tensor:
    """Return how far a picture may be darkened, float32 (batch, 1): 1 without clipped white, 0 from a quarter on.

    Clipped white that is brought down is a grey patch, which looks worse than too bright.
    """
    pale, clipped = (grid.amin(1) - 0.8) * 10.0, (grid.amax(1) - 0.97) * 50.0
    share = (pale.clamp(0.0, 1.0) * clipped.clamp(0.0, 1.0)).mean((1, 2)).unsqueeze(1)
    return (1.0 - 4.0 * share).clamp_min(0.0)


def _halving(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class AutoCorrection(nn.Module):
    """The form that is exported: uint8 (1, 256, 256, 3) RGB in, float32 (1, A) out, A the vocabulary's adjustments.

    Everything outside MEMBERS is zero. An automatic adjustment g of strength s adds s * corrections[GROUPS[g]].
    """

    def __init__(self, net: CorrectionNet) -> None:
        super().__init__()
        self.net = net
        # strided convolution, not pooling: average pooling is slow in ONNX Runtime
        step = PHOTO_SIDE_PIXELS // GRID_SIDE_PIXELS
        self.register_buffer("mean", torch.full((3, 1, step, step), 1 / (255.0 * step * step)), persistent=False)
        self.register_buffer("places", places(), persistent=False)

    mean: Tensor
    places: Tensor

    def forward(self, photo: Tensor) -> Tensor:
        """Return the corrections; the photo is stretched to the square, whatever its aspect."""
        pixels = photo.permute(0, 3, 1, 2).float()
        grid = functional.conv2d(pixels, self.mean, stride=self.mean.shape[-1], groups=3)
        return torch.matmul(self.net(grid), self.places)


def places() -> Tensor:
    """Return float32 (len(MEMBERS), A), the matrix that puts amounts of MEMBERS on the axis of all adjustments."""
    matrix = torch.zeros(len(MEMBERS), len(indices()))
    for row, name in enumerate(MEMBERS):
        matrix[row, indices()[name]] = 1.0
    return matrix


def statistics(grid: Tensor) -> Tensor:
    """Return what is known about tones and colours, float32 (batch, features), of encoded RGB (batch, 3, h, w)."""
    luma = (grid * grid.new_tensor(LUMA).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
    flat = torch.cat([luma, grid], 1).flatten(2)
    # a quarter of the pixels is enough for shares of 3 % and costs a quarter
    shares, percentiles = tones(torch.cat([luma, grid], 1)[:, :, ::2, ::2].flatten(2))
    mean = flat.mean(2)
    deviation = ((flat - mean.unsqueeze(2)).square().mean(2) + 1e-6).sqrt()
    parts = (shares, percentiles, mean, deviation, chroma_histogram(flat), light(grid), colourfulness(flat))
    return torch.cat(parts, 1)


def tones(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Soft histograms and percentiles of (batch, planes, pixels).

    A pixel is shared between two neighbouring bins; the last share is what has clipped at 1.
    """
    edges = (torch.arange(_BINS, dtype=flat.dtype, device=flat.device) + 1.0).reshape(1, 1, -1, 1)
    below = (edges - _BINS * flat.unsqueeze(2)).clamp(0.0, 1.0).mean(3)
    start, end = torch.zeros_like(below[:, :, :1]), torch.ones_like(below[:, :, :1])
    shares = torch.cat([below, end], 2) - torch.cat([start, below], 2)
    wanted = flat.new_tensor(_QUANTILES).reshape(1, 1, -1, 1)
    before, share = torch.cat([start, below], 2).unsqueeze(2), shares.unsqueeze(2)
    percentiles = ((wanted - before) / (share + 1e-5)).clamp(0.0, 1.0).sum(3) / (_BINS + 1)
    return (shares.clamp_min(0.0) + 1e-4).sqrt().flatten(1), percentiles.flatten(1)


def _log_chroma(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Stops of red and of blue over green in linear light, each (batch, pixels)."""
    stops = torch.log2(to_linear(flat[:, 1:]) + 0.003)
    return stops[:, 0] - stops[:, 1], stops[:, 2] - stops[:, 1]


def chroma_histogram(flat: Tensor) -> Tensor:
    """Share of well exposed pixels in each cell of red/green and blue/green stops (Barron, Fast Fourier Color
    Constancy, 2017): (batch, 4, pixels) -> (batch, _CHROMA_BINS^2)."""
    brightest = torch.maximum(torch.maximum(flat[:, 1], flat[:, 2]), flat[:, 3])
    weight = ((1.0 - brightest) * 20.0).clamp(0.0, 1.0) * (flat[:, 0] * 8.0).clamp(0.0, 1.0)
    centres = torch.arange(_CHROMA_BINS, dtype=flat.dtype, device=flat.device).reshape(1, -1, 1)
    scale = (_CHROMA_BINS - 1) / (2.0 * _CHROMA_STOPS)

    def nearness(stops: Tensor) -> Tensor:
        place = ((stops + _CHROMA_STOPS) * scale).clamp(0.0, _CHROMA_BINS - 1.0).unsqueeze(1)
        return (1.0 - (place - centres).abs()).clamp_min(0.0)

    red, blue = _log_chroma(flat)
    joint = torch.matmul(nearness(red) * weight.unsqueeze(1), nearness(blue).transpose(1, 2))
    return (joint / (weight.sum(1).reshape(-1, 1, 1) + 8.0) + 1e-4).sqrt().flatten(1)


def light(grid: Tensor) -> Tensor:
    """Four guesses at the light's colour in stops over green: grey world, shades of grey, grey edge (van de Weijer et
    al. 2007), nearly grey pixels; (batch, 3, h, w) -> (batch, 8)."""
    linear = to_linear(grid)
    world = linear.mean((2, 3))
    shades = linear.pow(4).mean((2, 3)).pow(0.25)
    rows = (linear[:, :, 1:] - linear[:, :, :-1]).abs().mean((2, 3))
    columns = (linear[:, :, :, 1:] - linear[:, :, :, :-1]).abs().mean((2, 3))
    weight = (1.0 - 4.0 * _spread(grid).unsqueeze(1)).clamp_min(0.0)
    nearly_grey = (linear * weight).mean((2, 3))
    guesses = torch.log2(torch.stack([world, shades, rows + columns, nearly_grey], 1) + 0.003)
    return (guesses[:, :, ::2] - guesses[:, :, 1:2]).flatten(1)


def colourfulness(flat: Tensor) -> Tensor:
    """Mean, mean square and share of pale pixels of max - min: (batch, 4, pixels) -> (batch, 3)."""
    spread = _spread(flat[:, 1:])
    pale = (1.0 - 8.0 * spread).clamp_min(0.0)
    return torch.stack([spread.mean(1), spread.square().mean(1), pale.mean(1)], 1)


def _spread(rgb: Tensor) -> Tensor:
    red, green, blue = rgb[:, 0], rgb[:, 1], rgb[:, 2]
    return torch.maximum(torch.maximum(red, green), blue) - torch.minimum(torch.minimum(red, green), blue)


def save(net: CorrectionNet, path: Path) -> None:
    """Write the weights as safetensors."""
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, path)


def load(path: Path) -> CorrectionNet:
    """Return the trained network in evaluation mode, from a file of `save` or from the merged checkpoint."""
    net = CorrectionNet()
    tensors = load_file(path)
    merged = {name: value for name, value in tensors.items() if name.startswith(_PREFIX)}
    net.load_state_dict({name.removeprefix(_PREFIX): value for name, value in (merged or tensors).items()})
    return net.eval()
