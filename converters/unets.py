"""The denoisers that are UNets, wrapped for capture: DreamLite's and Stable Diffusion's.

Attention is spelled as two matrix products; sizes that aren't multiples of the deepest level's pass too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn

SENSITIVE: Final = tuple(
    f"model.{part}.*" for part in ("conv_in", "conv_out", "time_embedding", "add_embedding", "encoder_hid_proj")
)
"""Layers that stay float: few parameters, and every later layer stands on them."""

EVEN_ROWS: Final = tuple(
    f"model.*.{layer}.weight"
    for layer in ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn2.to_q", "ff.net.0.proj")
)
"""Layers that read what a layer norm just made even; what attention mixes, what gates let through and text are not."""


class PlainAttention:
    """Attention of any number of heads over as many or fewer key and value heads, which are never repeated in memory.

    An attention processor of diffusers, for layers without group norm and residuals of their own.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **_: object,
    ) -> torch.Tensor:
        """Return float32 (1, tokens, width), as `hidden_states`; `attention_mask` is added to the scores."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.to_q(hidden_states).unflatten(-1, (attn.heads, -1))
        width = query.shape[-1]
        key, value = (layer(context).unflatten(-1, (-1, width)) for layer in (attn.to_k, attn.to_v))
        query = query if attn.norm_q is None else attn.norm_q(query)
        key = key if attn.norm_k is None else attn.norm_k(key)
        # heads that share a key are rows of one product, (1, key heads, tokens and heads, width); where all share one,
        # they are so as they lie
        shared = key.shape[2] == 1
        rows = query.reshape(1, 1, -1, width) if shared else query.transpose(1, 2).reshape(1, key.shape[2], -1, width)
        scores = torch.matmul(rows, (key * width**-0.5).permute(0, 2, 3, 1))
        scores = scores if attention_mask is None else scores + attention_mask
        mixed = torch.matmul(scores.softmax(-1), value.transpose(1, 2))
        if shared:
            joined = mixed.reshape(1, -1, attn.heads * width)
        else:
            joined = mixed.reshape(1, attn.heads, -1, width).transpose(1, 2).flatten(2)
        result: torch.Tensor = attn.to_out[0](joined)
        return result


class Upsampling(nn.Module):
    """diffusers' Upsample2D to the size of the skip connection, without its question how many values that will be.

    The ratio of sizes in that question is what the exporter's quick way can't trace; the slow one took twice as long.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.conv = original.conv

    def forward(self, hidden_states: torch.Tensor, output_size: Any) -> torch.Tensor:
        """Return float32 (1, channels, *output_size)."""
        result: torch.Tensor = self.conv(nn.functional.interpolate(hidden_states, size=output_size, mode="nearest"))
        return result


class DreamLiteDenoiser(nn.Module):
    """DreamLiteUNetModel; state-dict names are the checkpoint's below `model.`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from diffusers import DreamLiteUNetModel

        super().__init__()
        self.model = _prepared(DreamLiteUNetModel.from_config(dict(config)))

    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        time_ids: torch.Tensor,
    ) -> torch.Tensor:
        """Return float32, shaped as `hidden_states`: noise and reference side by side, (1, 4, height, 2 * width).

        `timestep` is 0..1000, `time_ids` (1, 2) the picture's width and height in pixels.
        """
        prediction: torch.Tensor = self.model(
            hidden_states,
            timestep,
            encoder_hidden_states=encoder_hidden_states,
            added_cond_kwargs={"time_ids": time_ids},
            return_dict=False,
        )[0]
        return prediction


class PaddedDreamLiteDenoiser(DreamLiteDenoiser):
    """The same with texts filled up to one length: it is told how many of the tokens are real, and sees no others."""

    def forward(  # type: ignore[override]
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        time_ids: torch.Tensor,
        text_tokens: torch.Tensor,
    ) -> torch.Tensor:
        """Return what DreamLiteDenoiser does; `text_tokens` is float32 (1,)."""
        places = torch.arange(encoder_hidden_states.shape[1], dtype=torch.float32)
        prediction: torch.Tensor = self.model(
            hidden_states,
            timestep,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=(places < text_tokens).to(torch.float32)[None],
            added_cond_kwargs={"time_ids": time_ids},
            return_dict=False,
        )[0]
        return prediction


class StableDiffusionDenoiser(nn.Module):
    """UNet2DConditionModel of the Stable Diffusion 1 class; state-dict names are the checkpoint's below `model.`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from diffusers import UNet2DConditionModel

        super().__init__()
        self.model = _prepared(UNet2DConditionModel.from_config(dict(config)))

    def forward(
        self, hidden_states: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor
    ) -> torch.Tensor:
        """Return float32 (1, 4, height, width); `hidden_states` has the noise's channels and then the reference's."""
        prediction: torch.Tensor = self.model(
            hidden_states, timestep, encoder_hidden_states=encoder_hidden_states, return_dict=False
        )[0]
        return prediction


def _prepared(model: Any) -> Any:
    model.set_attn_processor(PlainAttention())
    # The model asks whether the size is a multiple of 2**this; if not, every upsampling fits its skip connection.
    # That way is right for every size, the other for multiples alone, so the answer must always be no.
    model.num_upsamplers = 30
    for block in model.up_blocks:
        if block.upsamplers is not None:
            block.upsamplers = nn.ModuleList(Upsampling(each) for each in block.upsamplers)
    return model
