"""The transformer of Qwen-Image, wrapped for capture; the autoencoder is in converters/still_autoencoder.py.

Rotary tables come in as inputs: complex numbers and the layout of pictures in the sequence stay outside the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from converters.attention import attention
from converters.shards import renamed
from converters.source import Arrays, ComponentSource, Weights
from edge_runtime.diffusion import rotary
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec

PATCH: Final = 2
"""A token is a patch of 2 x 2 latents: channels first, then rows, then columns."""

TOKEN_PIXELS: Final = 16
THETA: Final = 10_000
MOST_TOKENS: Final = 1 << 16
MOST_TEXT_TOKENS: Final = 8192
# what enters and leaves the transformer and its time; the modulations in the blocks are for the recipe to decide on
_SENSITIVE: Final = (
    "model.time_text_embed.*", "model.img_in.*", "model.txt_in.*", "model.proj_out.*",
)  # fmt: skip
# rows and columns of the picture and of its reference, text tokens and time
_EXAMPLES: Final = (((4, 6), (5, 4), 28, 0.9), ((6, 5), (4, 8), 36, 0.35))


class QwenImageDenoiser(nn.Module):
    """QwenImageTransformer2DModel; state-dict names are the checkpoint's below `model.`.

    The blocks are the library's; around them stands what it computes from the sizes of pictures, and takes as complex
    numbers.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        from diffusers import QwenImageTransformer2DModel

        super().__init__()
        self.model = QwenImageTransformer2DModel.from_config(dict(config))
        self.model.pos_embed = nn.Identity()  # holds tables of complex numbers
        self.model.set_attn_processor(_JointAttention())

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        rotary_cos: torch.Tensor,
        rotary_sin: torch.Tensor,
        text_rotary_cos: torch.Tensor,
        text_rotary_sin: torch.Tensor,
        modulation_index: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return float32 (1, image_tokens, channels). `timestep` is 0..1.

        `modulation_index` is 0 where a token is modulated as at `timestep`, 1 where as at time 0.
        """
        model = self.model
        image = model.img_in(hidden_states)
        text = model.txt_in(model.txt_norm(encoder_hidden_states))
        times = timestep if modulation_index is None else torch.cat((timestep, timestep * 0))
        time = model.time_text_embed(times, image)
        rotary = (torch.cat((text_rotary_cos, rotary_cos)), torch.cat((text_rotary_sin, rotary_sin)))
        for block in model.transformer_blocks:
            text, image = block(
                hidden_states=image,
                encoder_hidden_states=text,
                encoder_hidden_states_mask=None,
                temb=time,
                image_rotary_emb=rotary,
                modulate_index=modulation_index,
            )
        prediction: torch.Tensor = model.proj_out(model.norm_out(image, time[:1]))
        return prediction


class _JointAttention:
    """Text and picture attend to both, text first. An attention processor of diffusers."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor],
        encoder_hidden_states_mask: None = None,
        attention_mask: None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 (1, image_tokens, width) and (1, text_tokens, width)."""
        heads = (attn.heads, -1)
        text = [layer(encoder_hidden_states).unflatten(-1, heads) for layer in (attn.add_q_proj, attn.add_k_proj)]
        image = [layer(hidden_states).unflatten(-1, heads) for layer in (attn.to_q, attn.to_k)]
        query = torch.cat((attn.norm_added_q(text[0]), attn.norm_q(image[0])), dim=1)
        key = torch.cat((attn.norm_added_k(text[1]), attn.norm_k(image[1])), dim=1)
        value = torch.cat((attn.add_v_proj(encoder_hidden_states), attn.to_v(hidden_states)), dim=1)
        query, key = (_turned(part, *image_rotary_emb) for part in (query, key))
        value = value.unflatten(-1, heads)
        mixed = attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        joint = mixed.transpose(1, 2).flatten(2)
        tokens = encoder_hidden_states.shape[1]
        return attn.to_out[0](joint[:, tokens:]), attn.to_add_out(joint[:, :tokens])


def _turned(tensor: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs (2i, 2i + 1) of the last axis of (1, tokens, heads, width)."""
    even, odd = tensor.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((-odd, even), dim=-1).flatten(3)
    return tensor * cos[None, :, None] + turned * sin[None, :, None]


def qwen_image_denoiser(
    config: Mapping[str, Any], weights: Weights, reference_pixels: int, text_tokens: int
) -> ComponentSource:
    """Describe the graph `denoiser`; `modulation_index` is its last input where references stay at time 0 (2511).

    `reference_pixels` is the area at which a picture is seen, `text_tokens` what a long text has.
    """
    unknown = ("guidance_embeds", "use_additional_t_cond", "use_layer3d_rope")
    if strange := [name for name in unknown if config.get(name)]:
        raise ConversionError("the transformer is of another model", got=f"{', '.join(strange)}: true")
    channels, text, head = config["in_channels"], config["joint_attention_dim"], sum(config["axes_dims_rope"])
    outputs = PATCH * PATCH * (config.get("out_channels") or channels)

    def floats(name: str, *shape: int | str) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=shape)

    inputs = (
        floats("hidden_states", 1, "image_tokens", channels),
        floats("encoder_hidden_states", 1, "text_tokens", text),
        floats("timestep", 1),
        *(floats(name, "image_tokens", head) for name in ("rotary_cos", "rotary_sin")),
        *(floats(name, "text_tokens", head) for name in ("text_rotary_cos", "text_rotary_sin")),
    )
    index = TensorSpec(name="modulation_index", dtype="int64", shape=(1, "image_tokens"))
    return ComponentSource(
        name="denoiser",
        module=lambda: QwenImageDenoiser(config),
        inputs=(*inputs, index) if config.get("zero_cond_t") else inputs,
        outputs=(floats("prediction", 1, "image_tokens", outputs),),
        examples=tuple(_denoiser_example(config, seed) for seed in range(len(_EXAMPLES))),
        dimensions={"image_tokens": (1, MOST_TOKENS), "text_tokens": (1, MOST_TEXT_TOKENS)},
        working=lambda width, height: {
            "image_tokens": (width * height + reference_pixels) // TOKEN_PIXELS**2, "text_tokens": text_tokens,
        },
        exclude=_SENSITIVE,
        weights=renamed(weights, lambda name: f"model.{name}"),
    )


def _denoiser_example(config: Mapping[str, Any], seed: int) -> Arrays:
    """A picture with one reference, rows and columns counted from the middle, text behind both."""
    *grids, text_tokens, time = _EXAMPLES[seed]
    random = np.random.default_rng(seed)
    pictures = [
        np.stack(np.meshgrid(place, *(np.arange(size) - (size - size // 2) for size in grid), indexing="ij"), axis=-1)
        for place, grid in enumerate(grids)
    ]
    positions = np.concatenate([picture.reshape(-1, 3) for picture in pictures])
    text = np.tile(np.arange(text_tokens)[:, None] + max(size // 2 for grid in grids for size in grid), 3)
    names = ("rotary_cos", "rotary_sin", "text_rotary_cos", "text_rotary_sin")
    tables = [table for part in (positions, text) for table in rotary.tables(part, config["axes_dims_rope"], THETA)]
    shapes = {
        "hidden_states": (1, len(positions), config["in_channels"]),
        "encoder_hidden_states": (1, text_tokens, config["joint_attention_dim"]),
    }
    index = {"modulation_index": np.minimum(positions[None, :, 0], 1)} if config.get("zero_cond_t") else {}
    return {
        **{name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()},
        "timestep": np.array([time], np.float32),
        **dict(zip(names, tables, strict=True)),
        **index,
    }
