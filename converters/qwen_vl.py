"""What both generations of Qwen's models that see pictures have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from edge_runtime.errors import ConversionError

if TYPE_CHECKING:
    from converters.folder import PipelineFolder


def rotated(tensor: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs (i, i + half) of the last axis."""
    first, second = tensor.chunk(2, dim=-1)
    return tensor * cos + torch.cat((-second, first), dim=-1) * sin


def preprocessing(folder: PipelineFolder) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how pixels become patches (mean, std, patch, temporal_patch, merge), and all that the processor says.

    transformers 4 wrote a file for it, transformers 5 writes it into the processor's own.
    """
    files = [file.name for file in folder.files("processor")]
    if "preprocessor_config.json" in files:
        entries = folder.config("processor", "preprocessor_config.json")
    else:
        entries = folder.config("processor", "processor_config.json").get("image_processor", {})
    names = {
        "mean": "image_mean", "std": "image_std", "patch": "patch_size", "temporal_patch": "temporal_patch_size",
        "merge": "merge_size",
    }  # fmt: skip
    if missing := [name for name in names.values() if name not in entries]:
        raise ConversionError("the processor doesn't say how pixels become patches", got=f"no {', '.join(missing)}")
    return {name: entries[entry] for name, entry in names.items()}, entries
