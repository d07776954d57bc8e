"""The transformers of FLUX.1 and FLUX.2, wrapped for capture. Kontext and UMO share one, and differ in positions.

Rotary tables come in as inputs: angles in float64 and the layout of pictures in the sequence stay outside the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from converters.attention import FewHeadsAtOnce
from converters.shards import renamed
from converters.sinusoids import Sinusoids, timestep_frequencies
from converters.source import Arrays, ComponentSource, Weights, Working
from edge_runtime.diffusion import rotary
from edge_runtime.tensors import TensorSpec

FLUX_THETA: Final = 10_000
FLUX2_THETA: Final = 2_000
MOST_TEXT_TOKENS: Final = 512
TOKEN_PIXELS: Final = 16
"""A token stands for so many pixels along each side."""

MOST_TOKENS: Final = 1 << 16
"""Of one sequence, text included: a picture of 2048 x 2048 pixels with three references of that size."""

_TIME_CHANNELS: Final = 256
# Rows and columns of the picture and of its reference, and text tokens
_EXAMPLES: Final = (((4, 6), (5, 4), 28), ((6, 5), (4, 8), 36))
_TIMES: Final = (0.9, 0.35)
# What enters and leaves the transformer and what conditions every layer of it; the modulations inside the blocks,
# which are a third of FLUX.1, are for the recipe to decide on
_SENSITIVE: Final = (
    "model.time_text_embed.*", "model.time_guidance_embed.*",
    "model.x_embedder.*", "model.context_embedder.*", "model.proj_out.*",
)  # fmt: skip


class _GivenTables(nn.Module):
    """Stands where the rotary module was: takes for positions a table of cosines and sines, side by side."""

    def forward(self, table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both tables, float32 (tokens, channels of a head)."""
        cos, sin = table.chunk(2, dim=1)
        return cos, sin


class FluxDenoiser(nn.Module):
    """FluxTransformer2DModel; state-dict names are the checkpoint's below `model.`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from diffusers import FluxTransformer2DModel

        super().__init__()
        self.model = FluxTransformer2DModel.from_config(dict(config))
        self.model.pos_embed = _GivenTables()
        self.model.time_text_embed.time_proj = Sinusoids(_TIME_CHANNELS)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        pooled: torch.Tensor,
        timestep: torch.Tensor,
        rotary_cos: torch.Tensor,
        rotary_sin: torch.Tensor,
        guidance: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return float32 (1, image_tokens, channels). `timestep` is 0..1; tables have the text's tokens first."""
        return _predicted(
            self.model,
            torch.cat((rotary_cos, rotary_sin), dim=1),
            hidden_states=hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            pooled_projections=pooled,
            timestep=timestep,
            guidance=guidance,
        )


class Flux2Denoiser(nn.Module):
    """Flux2Transformer2DModel; state-dict names are the checkpoint's below `model.`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from diffusers import Flux2Transformer2DModel

        super().__init__()
        self.model = Flux2Transformer2DModel.from_config(dict(config))
        self.model.pos_embed = _GivenTables()
        self.model.time_guidance_embed.time_proj = Sinusoids(_flux2_time_channels(config))

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        rotary_cos: torch.Tensor,
        rotary_sin: torch.Tensor,
        guidance: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return float32 (1, image_tokens, channels). `timestep` is 0..1; tables have the text's tokens first."""
        return _predicted(
            self.model,
            torch.cat((rotary_cos, rotary_sin), dim=1),
            hidden_states=hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            timestep=timestep,
            guidance=guidance,
        )


def _predicted(model: nn.Module, table: torch.Tensor, **inputs: torch.Tensor | None) -> torch.Tensor:
    """Run diffusers' module with one table of rotary values; it joins the two it takes."""
    with FewHeadsAtOnce():
        prediction: torch.Tensor = model(**inputs, txt_ids=table[:0], img_ids=table, return_dict=False)[0]
    return prediction


def flux_denoiser(
    config: Mapping[str, Any], weights: Weights, reference_pixels: Callable[[int], int]
) -> ComponentSource:
    """Describe the `denoiser` of FLUX.1; `guidance` is its last input where the checkpoint is distilled with it.

    `reference_pixels` gives the area at which a reference is seen for the result's.
    """
    pooled = TensorSpec(name="pooled", dtype="float32", shape=(1, config["pooled_projection_dim"]))
    inputs = _inputs(config, after_text=(pooled,))
    return ComponentSource(
        name="denoiser",
        module=lambda: FluxDenoiser(config),
        inputs=inputs,
        outputs=_outputs(config),
        examples=_examples(inputs, config, FLUX_THETA, (0, 1)),
        dimensions=_dimensions(),
        exclude=_SENSITIVE,
        weights=renamed(weights, _name),
        constants={"model.time_text_embed.time_proj.frequencies": timestep_frequencies(_TIME_CHANNELS)},
        working=_working(reference_pixels),
    )


def flux2_denoiser(
    config: Mapping[str, Any], weights: Weights, reference_pixels: Callable[[int], int]
) -> ComponentSource:
    """Describe the `denoiser` of FLUX.2, as `flux_denoiser` does."""
    inputs = _inputs(config)
    return ComponentSource(
        name="denoiser",
        module=lambda: Flux2Denoiser(config),
        inputs=inputs,
        outputs=_outputs(config),
        examples=_examples(inputs, config, config.get("rope_theta", FLUX2_THETA), (0, 10)),
        dimensions=_dimensions(),
        exclude=_SENSITIVE,
        weights=renamed(weights, _name),
        constants={
            "model.time_guidance_embed.time_proj.frequencies": timestep_frequencies(_flux2_time_channels(config))
        },
        working=_working(reference_pixels),
    )


def _working(reference_pixels: Callable[[int], int]) -> Working:
    def sizes(width: int, height: int) -> dict[str, int]:
        image = (width * height + reference_pixels(width * height)) // TOKEN_PIXELS**2
        return {"image_tokens": image, "text_tokens": MOST_TEXT_TOKENS, "tokens": image + MOST_TEXT_TOKENS}

    return sizes


def _inputs(config: Mapping[str, Any], after_text: tuple[TensorSpec, ...] = ()) -> tuple[TensorSpec, ...]:
    width = sum(config["axes_dims_rope"])
    scalar: tuple[str, ...] = ("guidance",) if config["guidance_embeds"] else ()
    text = (1, "text_tokens", config["joint_attention_dim"])
    return (
        TensorSpec(name="hidden_states", dtype="float32", shape=(1, "image_tokens", config["in_channels"])),
        TensorSpec(name="encoder_hidden_states", dtype="float32", shape=text),
        *after_text,
        TensorSpec(name="timestep", dtype="float32", shape=(1,)),
        TensorSpec(name="rotary_cos", dtype="float32", shape=("tokens", width)),
        TensorSpec(name="rotary_sin", dtype="float32", shape=("tokens", width)),
        *(TensorSpec(name=name, dtype="float32", shape=(1,)) for name in scalar),
    )


def _outputs(config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    channels = config.get("out_channels") or config["in_channels"]
    return (TensorSpec(name="prediction", dtype="float32", shape=(1, "image_tokens", channels)),)


def _dimensions() -> dict[str, tuple[int, int]]:
    return {"image_tokens": (1, MOST_TOKENS), "text_tokens": (1, MOST_TEXT_TOKENS), "tokens": (2, MOST_TOKENS)}


def _examples(
    inputs: Sequence[TensorSpec], config: Mapping[str, Any], theta: float, first_axis: Sequence[int]
) -> tuple[Arrays, ...]:
    """Return a picture with one reference, twice; the first axis of positions tells the two apart."""
    return tuple(_example(inputs, config, theta, first_axis, seed) for seed in range(len(_EXAMPLES)))


def _example(
    inputs: Sequence[TensorSpec], config: Mapping[str, Any], theta: float, first_axis: Sequence[int], seed: int
) -> Arrays:
    *grids, text_tokens = _EXAMPLES[seed]
    axes = config["axes_dims_rope"]
    text = np.zeros((text_tokens, len(axes)), np.int64)
    if len(axes) == 4:
        text[:, 3] = np.arange(text_tokens)  # FLUX.2 numbers its text tokens
    pictures = []
    for (rows, columns), first in zip(grids, first_axis, strict=True):
        grid = np.zeros((rows, columns, len(axes)), np.int64)
        grid[..., 0], grid[..., 1], grid[..., 2] = first, np.arange(rows)[:, None], np.arange(columns)
        pictures.append(grid.reshape(-1, len(axes)))
    positions = np.concatenate([text, *pictures])
    cos, sin = rotary.tables(positions, axes, theta)
    known = {
        "timestep": np.array([_TIMES[seed]], np.float32), "guidance": np.array([2.5], np.float32),
        "rotary_cos": cos, "rotary_sin": sin,
    }  # fmt: skip
    sizes = {"image_tokens": len(positions) - text_tokens, "text_tokens": text_tokens}
    random = np.random.default_rng(seed)
    return {
        spec.name: known[spec.name]
        if spec.name in known
        else random.standard_normal([sizes[size] if isinstance(size, str) else size for size in spec.shape]).astype(
            np.float32
        )
        for spec in inputs
    }


def _flux2_time_channels(config: Mapping[str, Any]) -> int:
    return int(config.get("timestep_guidance_channels", _TIME_CHANNELS))


def _name(name: str) -> str:
    return f"model.{name}"
