"""Qwen2.5-VL as two graphs: `vision_encoder`, pixels to image tokens, and `text_encoder`, tokens to the hidden state.

What depends on the grid of patches or on positions is computed outside and comes in as tables. Most vision layers look
at windows of 8 x 8 patches alone, so patches come in window by window, and windows at the edge have empty slots: scores
are then small, where a mask over all pairs of patches would be hundreds of megabytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from converters.attention import attention
from converters.qwen_image_modules import MOST_TEXT_TOKENS
from converters.qwen_vl import rotated
from converters.shards import renamed
from converters.source import Arrays, ComponentSource, Weights
from edge_runtime.diffusion.rotary import frequencies, halves
from edge_runtime.diffusion.tokens import MASKED, causal_bias
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import Tensor, TensorSpec

PREFIXES: Final = {
    "vision_encoder": ("visual.", "model.visual."),
    "text_encoder": ("model.language_model.", "model."),
}
"""Where a checkpoint has the tensors of each graph: the layouts of transformers 4 and 5."""

MAX_WINDOWS: Final = 1024
MAX_TOKENS: Final = MOST_TEXT_TOKENS
_EXAMPLE_TOKENS: Final = ((72, 24), (57, 20))
_EXAMPLE_WINDOWS: Final = (3, 2)


def read_config(config: Mapping[str, Any]) -> Any:
    """Return transformers' Qwen2_5_VLConfig, every member filled in, for the config.json of transformers 4 or 5.

    Raises ConversionError for one that the graphs don't follow.
    """
    from transformers import Qwen2_5_VLConfig

    settings = Qwen2_5_VLConfig(**config)
    if strange := set(settings.text_config.layer_types) - {"full_attention"}:
        raise ConversionError("the text encoder has layers that are not known", got=", ".join(sorted(strange)))
    settings.text_config._attn_implementation = "eager"  # the others choose kernels that can't be captured
    return settings


def window_slots(vision: Any) -> int:
    """Return how many patches a window has room for."""
    return int((window_side(vision) * vision.spatial_merge_size) ** 2)


def window_side(vision: Any) -> int:
    """Return how many image tokens stand along a window's side."""
    return int(vision.window_size // vision.spatial_merge_size // vision.patch_size)


def tokens_a_side(vision: Any, area: int) -> int:
    """Return how many tokens a square picture of this area has along its side."""
    return max(1, round(math.sqrt(area) / int(vision.patch_size * vision.spatial_merge_size)))


class VisionEncoder(nn.Module):
    """Patches of one image -> image tokens; state-dict names are the checkpoint's below `visual.`."""

    def __init__(self, config: Any) -> None:
        from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen

        super().__init__()
        settings = config.vision_config
        self.full = set(settings.fullatt_block_indexes)
        self.heads = settings.num_heads
        self.patch_embed = qwen.Qwen2_5_VisionPatchEmbed(
            settings.patch_size, settings.temporal_patch_size, settings.in_channels, settings.hidden_size
        )
        self.blocks = nn.ModuleList(qwen.Qwen2_5_VLVisionBlock(settings) for _ in range(settings.depth))
        self.merger = qwen.Qwen2_5_VLPatchMerger(
            settings.out_hidden_size, settings.hidden_size, settings.spatial_merge_size
        )

    def forward(
        self,
        patches: torch.Tensor,
        rotary_cos: torch.Tensor,
        rotary_sin: torch.Tensor,
        attention_bias: torch.Tensor,
        image_order: torch.Tensor,
    ) -> torch.Tensor:
        """Return float32 (image_tokens, width), in the order that `image_order` gives."""
        projection = self.patch_embed.proj  # a convolution whose kernel is the patch: a product
        hidden = nn.functional.linear(patches, projection.weight.flatten(1))
        cos, sin = rotary_cos[:, :, None], rotary_sin[:, :, None]
        block: Any
        for place, block in enumerate(self.blocks):
            everywhere = place in self.full
            hidden = hidden + self._attention(block.attn, block.norm1(hidden), cos, sin, attention_bias, everywhere)
            hidden = hidden + block.mlp(block.norm2(hidden))
        return nn.functional.embedding(image_order, self.merger(hidden))

    def _attention(
        self,
        layer: Any,
        hidden: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        bias: torch.Tensor,
        everywhere: bool,
    ) -> torch.Tensor:
        """Let patches attend within their window, or everywhere: (windows, slots, width) -> the same."""
        query, key, value = (part.unflatten(2, (self.heads, -1)) for part in layer.qkv(hidden).chunk(3, dim=2))
        query, key = (rotated(part, cos, sin) for part in (query, key))
        if everywhere:
            query, key, value = (part.flatten(0, 1)[None] for part in (query, key, value))
            bias = bias.flatten()[None]
        mixed = attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            bias=bias[:, None, None],
            heads_at_once=4 if everywhere else self.heads,
        )
        result: torch.Tensor = layer.proj(mixed.transpose(1, 2).reshape(hidden.shape))
        return result


class TextEncoder(nn.Module):
    """Tokens and image tokens -> the hidden state after the last norm.

    State-dict names are the checkpoint's below `model.language_model.`.
    """

    def __init__(self, config: Any) -> None:
        from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen

        super().__init__()
        settings = config.text_config
        self.embed_tokens = nn.Embedding(settings.vocab_size, settings.hidden_size)
        self.layers = nn.ModuleList(
            qwen.Qwen2_5_VLDecoderLayer(settings, place) for place in range(settings.num_hidden_layers)
        )
        self.norm = qwen.Qwen2_5_VLRMSNorm(settings.hidden_size, eps=settings.rms_norm_eps)

    def forward(
        self,
        input_ids: torch.Tensor,
        image_index: torch.Tensor,
        image_embeddings: torch.Tensor,
        attention_bias: torch.Tensor,
        rotary_cos: torch.Tensor,
        rotary_sin: torch.Tensor,
    ) -> torch.Tensor:
        """Return float32 (1, tokens, width)."""
        image = nn.functional.embedding(image_index.clamp(min=0), image_embeddings)
        hidden = torch.where((image_index >= 0)[..., None], image, self.embed_tokens(input_ids))
        rotary = (rotary_cos[None], rotary_sin[None])
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=attention_bias, position_embeddings=rotary)
        normed: torch.Tensor = self.norm(hidden)
        return normed


def vision_component(config: Any, weights: Weights, seen_area: int) -> ComponentSource:
    """Describe the graph `vision_encoder`, which sees one image a run; `weights` are the whole checkpoint's.

    `seen_area` is the image's in pixels.

    `patches` stand window by window, in a window token by token, four patches a token, pixels as the processor has
    them; what is left of a window at the edge is zeros, at its end, and masked by `attention_bias`. Windows without any
    patch are left out. `image_order` says for every image token of the grid, row by row, where it stands.
    """
    vision = config.vision_config
    side = tokens_a_side(vision, seen_area)
    windows = math.ceil(side / window_side(vision)) ** 2
    slots, features = window_slots(vision), vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    head = vision.hidden_size // vision.num_heads
    return ComponentSource(
        name="vision_encoder",
        module=lambda: VisionEncoder(config),
        inputs=(
            TensorSpec(name="patches", dtype="float32", shape=("windows", slots, features)),
            TensorSpec(name="rotary_cos", dtype="float32", shape=("windows", slots, head)),
            TensorSpec(name="rotary_sin", dtype="float32", shape=("windows", slots, head)),
            TensorSpec(name="attention_bias", dtype="float32", shape=("windows", slots)),
            TensorSpec(name="image_order", dtype="int64", shape=("image_tokens",)),
        ),
        outputs=(_image_spec(config),),
        examples=tuple(_vision_example(vision, windows, seed) for seed, windows in enumerate(_EXAMPLE_WINDOWS)),
        dimensions={"windows": (1, MAX_WINDOWS), "image_tokens": (1, MAX_WINDOWS * window_side(vision) ** 2)},
        working=lambda width, height: {"windows": windows, "image_tokens": side * side},
        exclude=("patch_embed.*",),
        weights=_part(weights, "vision_encoder"),
    )


def text_component(config: Any, weights: Weights, seen_area: int, words: int) -> ComponentSource:
    """Describe the graph `text_encoder`; without an image, one row of zeros stands for its tokens.

    `seen_area` is an image's in pixels, `words` how many tokens a long text has beside it.
    """
    text = config.text_config
    image_tokens = tokens_a_side(config.vision_config, seen_area) ** 2
    head = text.hidden_size // text.num_attention_heads
    return ComponentSource(
        name="text_encoder",
        module=lambda: TextEncoder(config),
        inputs=(
            TensorSpec(name="input_ids", dtype="int64", shape=(1, "tokens")),
            TensorSpec(name="image_index", dtype="int64", shape=(1, "tokens")),
            _image_spec(config),
            TensorSpec(name="attention_bias", dtype="float32", shape=(1, 1, "tokens", "tokens")),
            TensorSpec(name="rotary_cos", dtype="float32", shape=("tokens", head)),
            TensorSpec(name="rotary_sin", dtype="float32", shape=("tokens", head)),
        ),
        outputs=(TensorSpec(name="embeddings", dtype="float32", shape=(1, "tokens", text.hidden_size)),),
        examples=tuple(_text_example(text, *sizes, seed=seed) for seed, sizes in enumerate(_EXAMPLE_TOKENS)),
        dimensions={"tokens": (2, MAX_TOKENS), "image_tokens": (1, MAX_TOKENS)},
        working=lambda width, height: {"tokens": image_tokens + words, "image_tokens": image_tokens},
        weights=_part(weights, "text_encoder"),
    )


def _part(weights: Weights, component: str) -> Weights:
    others = [prefix for name, prefixes in PREFIXES.items() if name != component for prefix in prefixes]

    def inside(name: str) -> str | None:
        # the longest prefix is right: of the text encoder's one begins as one of the vision encoder's
        known = [prefix for prefix in (*PREFIXES[component], *others) if name.startswith(prefix)]
        longest = max(known, key=len, default="")
        return name.removeprefix(longest) if longest in PREFIXES[component] else None

    return renamed(weights, inside)


def _image_spec(config: Any) -> TensorSpec:
    width = config.vision_config.out_hidden_size
    return TensorSpec(name="image_embeddings", dtype="float32", shape=("image_tokens", width))


def _vision_example(vision: Any, windows: int, seed: int) -> Arrays:
    """A picture of noise, the last window half empty."""
    random = np.random.default_rng(seed)
    slots = window_slots(vision)
    turning = frequencies(vision.hidden_size // vision.num_heads // 2, vision.rope_parameters["rope_theta"])
    features = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    filled = np.arange(windows * slots).reshape(windows, slots) < windows * slots - slots // 2
    places = np.arange(windows * slots).reshape(windows, slots, 1)
    return {
        "patches": (random.uniform(-1.5, 1.5, (windows, slots, features)) * filled[..., None]).astype(np.float32),
        **_rotary(np.concatenate([place * turning for place in divmod(places, 9)], axis=-1)),
        "attention_bias": np.where(filled, 0, MASKED).astype(np.float32),
        "image_order": random.permutation(filled.sum() // vision.spatial_merge_size**2),
    }


def _text_example(text: Any, tokens: int, image_tokens: int, seed: int) -> Arrays:
    """Random words with an image among them, at plain positions."""
    random = np.random.default_rng(seed)
    head = text.hidden_size // text.num_attention_heads
    image_index = np.full((1, tokens), -1)
    image_index[0, 8 : 8 + image_tokens] = np.arange(image_tokens)
    return {
        "input_ids": random.integers(0, text.vocab_size, (1, tokens)),
        "image_index": image_index,
        "image_embeddings": random.normal(0, 0.1, (image_tokens, text.hidden_size)).astype(np.float32),
        "attention_bias": causal_bias(tokens),
        **_rotary(np.arange(tokens)[:, None] * frequencies(head, text.rope_parameters["rope_theta"])),
    }


def _rotary(angles: Tensor) -> dict[str, Tensor]:
    cos, sin = halves(angles)
    return {"rotary_cos": cos, "rotary_sin": sin}
