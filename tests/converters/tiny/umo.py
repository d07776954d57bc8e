"""A tiny random checkpoint of FLUX.1-dev, low-rank weights for it as UNO and UMO save theirs, and how UNO uses them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tiny import flux_kontext

RANK = 4


def build(folder: Path, seed: int = 0) -> None:
    """Write the checkpoint; `FluxPipeline.from_pretrained` opens it."""
    flux_kontext.build(folder, seed, "FluxPipeline")


def write_loras(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write UNO's file, with every layer, and UMO's, which here lacks the last block of either kind."""
    uno, umo = folder / "dit_lora.safetensors", folder / "UMO_UNO.safetensors"
    config = flux_kontext.TRANSFORMER
    save_file(_tensors(config["num_layers"], config["num_single_layers"], seed), uno)
    save_file(_tensors(config["num_layers"] - 1, config["num_single_layers"] - 1, seed + 1), umo)
    return uno, umo


def product(tensors: Mapping[str, torch.Tensor], layer: str) -> torch.Tensor:
    """Return what a pair of low-rank weights adds."""
    return tensors[f"{layer}.up.weight"] @ tensors[f"{layer}.down.weight"]


def add(transformer: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Add UNO's low-rank weights to a transformer as UNO's attention processors apply them."""
    blocks = {"double": transformer.transformer_blocks, "single": transformer.single_transformer_blocks}
    for layer in {name.rsplit(".", 2)[0] for name in tensors}:
        kind, number, _, part = layer.replace("_blocks", "").split(".")
        block = blocks[kind][int(number)]
        delta = product(tensors, layer)
        match part:
            case "qkv_lora1" | "qkv_lora":
                linears = [block.attn.to_q, block.attn.to_k, block.attn.to_v]
            case "qkv_lora2":
                linears = [block.attn.add_q_proj, block.attn.add_k_proj, block.attn.add_v_proj]
            case "proj_lora1":
                linears = [block.attn.to_out[0]]
            case "proj_lora2":
                linears = [block.attn.to_add_out]
            case _:
                linears = [block.proj_out]
        with torch.no_grad():
            for linear, some in zip(linears, delta.chunk(len(linears)), strict=True):
                linear.weight += some


def uno_positions(target: tuple[int, int], references: list[tuple[int, int]]) -> np.ndarray:
    """Return (tokens, 3): rows and columns, each reference shifted by the sizes of all pictures before it."""
    down = right = 0
    pictures = []
    for rows, columns in (target, *references):
        row, column = np.indices((rows, columns))
        pictures.append(np.stack([np.zeros_like(row), row + down, column + right], axis=-1).reshape(-1, 3))
        down, right = down + rows, right + columns
    return np.concatenate(pictures)


def _tensors(double_blocks: int, single_blocks: int, seed: int) -> Mapping[str, torch.Tensor]:
    width = flux_kontext.TRANSFORMER["attention_head_dim"] * flux_kontext.TRANSFORMER["num_attention_heads"]
    sizes = {}
    for block in range(double_blocks):
        for stream in (1, 2):
            sizes[f"double_blocks.{block}.processor.qkv_lora{stream}"] = (width, 3 * width)
            sizes[f"double_blocks.{block}.processor.proj_lora{stream}"] = (width, width)
    for block in range(single_blocks):
        sizes[f"single_blocks.{block}.processor.qkv_lora"] = (width, 3 * width)
        sizes[f"single_blocks.{block}.processor.proj_lora"] = (5 * width, width)
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (inputs, outputs) in sizes.items():
        tensors[f"{name}.down.weight"] = 0.1 * torch.randn(RANK, inputs, generator=random)
        tensors[f"{name}.up.weight"] = 0.1 * torch.randn(outputs, RANK, generator=random)
    return tensors
