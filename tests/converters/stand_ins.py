"""Tiny real networks in the shape of a model to convert: what the converter's tests run on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from converters.parity import mask_iou
from converters.source import Agreement, ComponentSource
from edge_runtime.tensors import TensorSpec

SIDE = 32


class TinyMask(nn.Module):
    """uint8 (1, 32, 32, 3) -> float32 (1, 1, 32, 32) in 0..1, with a residual block and wide channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.block = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Conv2d(32, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the mask."""
        x = torch.relu(self.stem(image.permute(0, 3, 1, 2).to(torch.float32) / 64.0 - 2.0))
        x = torch.relu(x + self.block(x))
        return torch.sigmoid(self.head(x))


class TinyText(nn.Module):
    """int32 (1, tokens) -> float32 (1, 8) and (1, tokens, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = nn.Embedding(256, 64)
        self.hidden = nn.Linear(64, 64)
        self.head = nn.Linear(64, 8)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores of the whole text and of every byte."""
        each = self.head(torch.relu(self.hidden(self.bytes(tokens))))
        return self.head(torch.relu(self.hidden(self.bytes(tokens).amax(1)))), each


def seeded(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """Return a network with reproducible weights, in evaluation mode."""
    torch.manual_seed(seed)
    return kind().eval()


def images(seed: int, count: int) -> tuple[dict[str, np.ndarray], ...]:
    """Smooth random pictures: neighbouring pixels are alike, as in photographs."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 1, 8, 8, 3))
    return tuple({"image": picture.repeat(4, 1).repeat(4, 2).astype(np.uint8)} for picture in coarse)


def texts(seed: int, count: int) -> tuple[dict[str, np.ndarray], ...]:
    """Random bytes of several lengths."""
    random = np.random.default_rng(seed)
    return tuple({"tokens": random.integers(1, 256, (1, 5 + i), np.int32)} for i in range(count))


def mask_component(
    module: Callable[[], nn.Module] = lambda: seeded(TinyMask), **changes: object
) -> ComponentSource:
    """Describe TinyMask."""
    members = {
        "name": "vision",
        "module": module,
        "inputs": (TensorSpec(name="image", dtype="uint8", shape=(1, SIDE, SIDE, 3)),),
        "outputs": (TensorSpec(name="subject", dtype="float32", shape=(1, 1, SIDE, SIDE)),),
        "examples": images(1, 3),
        "calibration": lambda: images(2, 6),
        "agreements": (Agreement(name="mask_iou", compare=lambda a, b: mask_iou(a["subject"], b["subject"])),),
    }
    return ComponentSource(**{**members, **changes})  # type: ignore[arg-type]


def text_component(module: Callable[[], nn.Module] = lambda: seeded(TinyText), **changes: object) -> ComponentSource:
    """Describe TinyText."""
    members = {
        "name": "text",
        "module": module,
        "inputs": (TensorSpec(name="tokens", dtype="int32", shape=(1, "tokens")),),
        "outputs": (
            TensorSpec(name="scores", dtype="float32", shape=(1, 8)),
            TensorSpec(name="each", dtype="float32", shape=(1, "tokens", 8)),
        ),
        "dimensions": {"tokens": (1, 64)},
        "examples": texts(1, 3),
        "calibration": lambda: texts(2, 6),
    }
    return ComponentSource(**{**members, **changes})  # type: ignore[arg-type]


def write_checkpoint(path: Path, seed: int = 0) -> Path:
    """Write the weights of both networks as the source `tiny` reads them."""
    tensors = {}
    for prefix, kind in (("text.", TinyText), ("vision.", TinyMask)):
        tensors |= {prefix + name: value.contiguous() for name, value in seeded(kind, seed).state_dict().items()}
    save_file(tensors, path)
    return path


FLOATS = TensorSpec(name="x", dtype="float32", shape=("rows", 4))


def odd_component(module: type[nn.Module], **changes: object) -> ComponentSource:
    """Describe a network from float32 (rows, 4) to float32 (rows, 4)."""
    members = {
        "name": "odd",
        "module": lambda: seeded(module),
        "inputs": (FLOATS,),
        "outputs": (TensorSpec(name="y", dtype="float32", shape=("rows", 4)),),
        "dimensions": {"rows": (1, 100)},
        "examples": ({"x": np.ones((3, 4), np.float32)},),
    }
    return ComponentSource(**{**members, **changes})  # type: ignore[arg-type]
