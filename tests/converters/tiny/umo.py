"""A tiny random checkpoint of FLUX.1-dev, and low-rank weights for it as UNO and UMO save theirs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
