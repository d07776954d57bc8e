"""Qwen3-VL as two graphs: `vision_encoder`, pixels to tokens, and `text_encoder`, tokens to the last hidden state.

What depends on the grid of patches or on positions is computed outside and comes in as tables, so that the graphs hold
neither loops over images nor rotary arithmetic. The layers are transformers' own; only what lies between is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from converters.qwen_vl import rotated
from converters.shards import renamed, under
from converters.source import Arrays, ComponentSource, Weights
from edge_runtime.diffusion.rotary import frequencies, halves
from edge_runtime.diffusion.tokens import causal_bias
from edge_runtime.tensors import Tensor, TensorSpec

PREFIXES: Final = {"vision_encoder": "model.visual.", "text_encoder": "model.language_model."}
"""Where a checkpoint has the tensors of each graph; what else is there, the head and the last norm, isn't used."""
MAX_PATCHES: Final = 16384
MAX_TOKENS: Final = 4096


def read_config(config: Mapping[str, Any]) -> Any:
    """Return transformers' Qwen3VLConfig, every member filled in, for the config.json of either transformers 4 or 5."""
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

    settings = Qwen3VLConfig(**config)
    settings.text_config._attn_implementation = "eager"  # the others choose kernels that can't be captured
    return settings


class VisionEncoder(nn.Module):
    """Patches of one image -> image tokens and DeepStack features.

    State-dict names are the checkpoint's below `model.visual.`.
    """

    def __init__(self, config: Any) -> None:
        from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen

        super().__init__()
        settings = config.vision_config
        self.levels = list(settings.deepstack_visual_indexes)
        self.heads = settings.num_heads
        self.patch_embed = qwen.Qwen3VLVisionPatchEmbed(settings)
        self.pos_embed = nn.Embedding(settings.num_position_embeddings, settings.hidden_size)
        self.blocks = nn.ModuleList(qwen.Qwen3VLVisionBlock(settings) for _ in range(settings.depth))
        self.merger = qwen.Qwen3VLVisionPatchMerger(settings, use_postshuffle_norm=False)
        self.deepstack_merger_list = nn.ModuleList(
            qwen.Qwen3VLVisionPatchMerger(settings, use_postshuffle_norm=True) for _ in self.levels
        )

    def forward(
        self,
        patches: torch.Tensor,
        position_index: torch.Tensor,
        position_weight: torch.Tensor,
        rotary_cos: torch.Tensor,
        rotary_sin: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 (image_tokens, width) and (levels, image_tokens, width)."""
        projection = self.patch_embed.proj  # a convolution whose kernel is the patch: a product
        hidden = nn.functional.linear(patches, projection.weight.flatten(1), projection.bias)
        hidden = hidden + (self.pos_embed(position_index) * position_weight[..., None]).sum(0)
        features = []
        block: Any
        for place, block in enumerate(self.blocks):
            hidden = hidden + self._attention(block.attn, block.norm1(hidden), rotary_cos, rotary_sin)
            hidden = hidden + block.mlp(block.norm2(hidden))
            if place in self.levels:
                features.append(self.deepstack_merger_list[self.levels.index(place)](hidden))
        return self.merger(hidden), torch.stack(features)

    def _attention(self, layer: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Let every patch attend to every other: (patches, width) -> (patches, width)."""
        query, key, value = (part.unflatten(1, (self.heads, -1)) for part in layer.qkv(hidden).chunk(3, dim=1))
        query, key = (rotated(part, cos[:, None], sin[:, None]) for part in (query, key))
        scores = torch.matmul(query.transpose(0, 1) * query.shape[-1] ** -0.5, key.permute(1, 2, 0))
        mixed = torch.matmul(scores.softmax(-1), value.transpose(0, 1))
        result: torch.Tensor = layer.proj(mixed.transpose(0, 1).flatten(1))
        return result


class TextEncoder(nn.Module):
    """Tokens and image tokens -> the hidden state after the last layer, before the final norm.

    State-dict names are the checkpoint's below `model.language_model.`.
    """

    def __init__(self, config: Any) -> None:
        from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen

        super().__init__()
        settings = config.text_config
        self.embed_tokens = nn.Embedding(settings.vocab_size, settings.hidden_size)
        self.layers = nn.ModuleList(
            qwen.Qwen3VLTextDecoderLayer(settings, place) for place in range(settings.num_hidden_layers)
        )

    def forward(
        self,
        input_ids: torch.Tensor,
        image_index: torch.Tensor,
        image_embeddings: torch.Tensor,
        deepstack: torch.Tensor,
        attention_bias: torch.Tensor,
        rotary_cos: torch.Tensor,
        rotary_sin: torch.Tensor,
    ) -> torch.Tensor:
        """Return float32 (1, tokens, width)."""
        is_image = (image_index >= 0)[..., None]
        row = image_index.clamp(min=0)
        hidden = torch.where(is_image, nn.functional.embedding(row, image_embeddings), self.embed_tokens(input_ids))
        rotary = (rotary_cos[None], rotary_sin[None])
        for place, layer in enumerate(self.layers):
            hidden = layer(hidden, position_embeddings=rotary, attention_mask=attention_bias)
            if place < deepstack.shape[0]:
                hidden = hidden + nn.functional.embedding(row, deepstack[place]) * is_image
        return hidden


def vision_component(config: Any, weights: Weights, seen_pixels: int) -> ComponentSource:
    """Describe the graph `vision_encoder`; `weights` are the whole checkpoint's, `seen_pixels` a picture's side."""
    vision = config.vision_config
    features = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    head = vision.hidden_size // vision.num_heads
    return ComponentSource(
        name="vision_encoder",
        module=lambda: VisionEncoder(config),
        inputs=(
            TensorSpec(name="patches", dtype="float32", shape=("patches", features)),
            TensorSpec(name="position_index", dtype="int64", shape=(4, "patches")),
            TensorSpec(name="position_weight", dtype="float32", shape=(4, "patches")),
            TensorSpec(name="rotary_cos", dtype="float32", shape=("patches", head)),
            TensorSpec(name="rotary_sin", dtype="float32", shape=("patches", head)),
        ),
        outputs=_image_specs(config),
        examples=(_vision_example(vision, 8, 12, seed=0), _vision_example(vision, 10, 8, seed=1)),
        dimensions={"patches": (4, MAX_PATCHES)},
        working=lambda width, height: {"patches": (seen_pixels // vision.patch_size) ** 2},
        exclude=("patch_embed.*", "pos_embed.*"),
        weights=under(weights, "model.visual."),
    )


def text_component(config: Any, weights: Weights, seen_pixels: int, tokens: int) -> ComponentSource:
    """Describe the graph `text_encoder`; without an image, one row of zeros stands for its tokens.

    `seen_pixels` is the side at which a picture is seen, `tokens` what a long text has with it.
    """
    text, vision = config.text_config, config.vision_config
    image_tokens = (seen_pixels // vision.patch_size // vision.spatial_merge_size) ** 2
    return ComponentSource(
        name="text_encoder",
        module=lambda: TextEncoder(config),
        inputs=(
            TensorSpec(name="input_ids", dtype="int64", shape=(1, "tokens")),
            TensorSpec(name="image_index", dtype="int64", shape=(1, "tokens")),
            *_image_specs(config),
            TensorSpec(name="attention_bias", dtype="float32", shape=(1, 1, "tokens", "tokens")),
            TensorSpec(name="rotary_cos", dtype="float32", shape=("tokens", text.head_dim)),
            TensorSpec(name="rotary_sin", dtype="float32", shape=("tokens", text.head_dim)),
        ),
        outputs=(TensorSpec(name="embeddings", dtype="float32", shape=(1, "tokens", text.hidden_size)),),
        examples=(_text_example(config, 72, 24, seed=0), _text_example(config, 57, 20, seed=1)),
        dimensions={"tokens": (2, MAX_TOKENS), "image_tokens": (1, MAX_PATCHES // 4)},
        working=lambda width, height: {"tokens": tokens, "image_tokens": image_tokens},
        weights=renamed(under(weights, "model.language_model."), lambda name: None if name == "norm.weight" else name),
    )


def _image_specs(config: Any) -> tuple[TensorSpec, ...]:
    width, levels = config.vision_config.out_hidden_size, len(config.vision_config.deepstack_visual_indexes)
    return (
        TensorSpec(name="image_embeddings", dtype="float32", shape=("image_tokens", width)),
        TensorSpec(name="deepstack", dtype="float32", shape=(levels, "image_tokens", width)),
    )


def _vision_example(vision: Any, rows: int, columns: int, seed: int) -> Arrays:
    """A picture of noise; positions read from places in the learned table that are right for no particular merge."""
    random = np.random.default_rng(seed)
    count, width = rows * columns, vision.hidden_size // vision.num_heads // 2
    features = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    weight = random.random((4, count), np.float32)
    places = np.stack(np.divmod(np.arange(count), columns), axis=1)
    angles = (places[:, :, None] * frequencies(width, vision.rope_parameters["rope_theta"])).reshape(count, width)
    return {
        "patches": random.uniform(-1, 1, (count, features)).astype(np.float32),
        "position_index": random.integers(0, vision.num_position_embeddings, (4, count)),
        "position_weight": weight / weight.sum(axis=0),
        **_rotary(angles),
    }


def _text_example(config: Any, tokens: int, image_tokens: int, seed: int) -> Arrays:
    """Random words with an image among them, at plain positions."""
    random = np.random.default_rng(seed)
    text, levels = config.text_config, len(config.vision_config.deepstack_visual_indexes)
    image_index = np.full((1, tokens), -1)
    image_index[0, 8 : 8 + image_tokens] = np.arange(image_tokens)
    angles = np.arange(tokens)[:, None] * frequencies(text.head_dim, text.rope_parameters["rope_theta"])
    return {
        "input_ids": random.integers(0, text.vocab_size, (1, tokens)),
        "image_index": image_index,
        "image_embeddings": random.normal(0, 0.1, (image_tokens, text.hidden_size)).astype(np.float32),
        "deepstack": random.normal(0, 0.1, (levels, image_tokens, text.hidden_size)).astype(np.float32),
        "attention_bias": causal_bias(tokens),
        **_rotary(angles),
    }


def _rotary(angles: Tensor) -> dict[str, Tensor]:
    cos, sin = halves(angles)
    return {"rotary_cos": cos, "rotary_sin": sin}
