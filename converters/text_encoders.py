"""Text encoders that several families share, wrapped for capture: CLIP, T5 and Qwen3.

The layers are the library's own; embedding, masks and the choice of hidden states are spelled here, so that masks and
rotary tables can come in as inputs. Multimodal encoders are in modules of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from converters.shards import renamed
from converters.source import Arrays, ComponentSource, Weights
from edge_runtime.diffusion import rotary
from edge_runtime.diffusion.tokens import causal_bias
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec

# stands in the configuration of CLIP's first release, where the end token is the largest of the vocabulary
_OLD_END: Final = 2
_EXAMPLE_TOKENS: Final = (77, 40)
_LONG_EXAMPLE_TOKENS: Final = (96, 144)  # T5 and Qwen are always given several hundred; more than 128 reaches T5's cap


class ClipText(nn.Module):
    """CLIPTextModel; state-dict names are the library's (without the `text_model.` of older files) below `model.`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from transformers import CLIPTextConfig, CLIPTextModel

        super().__init__()
        settings = CLIPTextConfig(**config)
        settings._attn_implementation = "eager"  # the others choose kernels that can't be captured
        self.model = CLIPTextModel(settings)

    def forward(self, input_ids: torch.Tensor, attention_bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 (1, tokens, width), after the last norm, and (1, width), that of the end token."""
        # the library keeps them in a buffer, which has no values here
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        hidden = self.model.embeddings(input_ids=input_ids, position_ids=positions)
        hidden = self.model.encoder(inputs_embeds=hidden, attention_mask=attention_bias).last_hidden_state
        hidden = self.model.final_layer_norm(hidden)
        end = self.model.eos_token_id
        mark = input_ids.int() if end == _OLD_END else (input_ids == end).int()
        return hidden, hidden.index_select(1, mark.argmax(-1)).squeeze(1)


class T5Text(nn.Module):
    """The encoder of T5; state-dict names are the checkpoint's below `model.`, the embedding `embed_tokens`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from transformers import T5Config
        from transformers.models.t5.modeling_t5 import T5Stack

        super().__init__()
        settings = T5Config(**{**config, "use_cache": False, "is_encoder_decoder": False, "is_decoder": False})
        settings._attn_implementation = "eager"
        self.model = T5Stack(settings)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return float32 (1, tokens, width), after the last norm; padding is looked at, as Flux was trained."""
        hidden = self.model.embed_tokens(input_ids)
        tokens = input_ids.shape[1]
        bias = self.model.block[0].layer[0].SelfAttention.compute_bias(tokens, tokens)
        for block in self.model.block:
            hidden = block(hidden, None, bias)[0]
        normed: torch.Tensor = self.model.final_layer_norm(hidden)
        return normed


class Qwen3Text(nn.Module):
    """The first layers of Qwen3: hidden states of `layers`, side by side.

    State-dict names are the checkpoint's below `model.`, which they lack.

    Hidden state k is what enters layer k, so the layers from the last of them on aren't built, and neither the norm.
    """

    def __init__(self, config: Mapping[str, Any], layers: Sequence[int]) -> None:
        from transformers import Qwen3Config
        from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

        super().__init__()
        settings = Qwen3Config(**config)
        settings._attn_implementation = "eager"
        self.wanted = tuple(layers)
        self.embed_tokens = nn.Embedding(settings.vocab_size, settings.hidden_size)
        self.layers = nn.ModuleList(Qwen3DecoderLayer(settings, place) for place in range(max(layers)))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        rotary_cos: torch.Tensor,
        rotary_sin: torch.Tensor,
    ) -> torch.Tensor:
        """Return float32 (1, tokens, number of layers * width)."""
        hidden = self.embed_tokens(input_ids)
        rotary = (rotary_cos[None], rotary_sin[None])
        states = {0: hidden}
        for place, layer in enumerate(self.layers, start=1):
            hidden = layer(hidden, attention_mask=attention_bias, position_embeddings=rotary)
            states[place] = hidden
        return torch.cat([states[place] for place in self.wanted], dim=-1)


def clip_text(config: Mapping[str, Any], weights: Weights, name: str = "text_encoder") -> ComponentSource:
    """Describe a CLIP text encoder: tokens and additive bias -> `embeddings` and `pooled`."""
    width = config["hidden_size"]
    end = config.get("eos_token_id", _OLD_END)
    end = config["vocab_size"] - 1 if end == _OLD_END else end
    longest = config["max_position_embeddings"]

    def example(tokens: int, seed: int) -> Arrays:
        ids = _tokens(end, tokens, seed)
        ids[:, tokens * 3 // 4 :] = end
        return {"input_ids": ids, "attention_bias": causal_bias(tokens)}

    return ComponentSource(
        name=name,
        module=lambda: ClipText(config),
        inputs=(_ids(), _bias()),
        outputs=(
            TensorSpec(name="embeddings", dtype="float32", shape=(1, "tokens", width)),
            TensorSpec(name="pooled", dtype="float32", shape=(1, width)),
        ),
        examples=tuple(example(min(tokens, longest), seed) for seed, tokens in enumerate(_EXAMPLE_TOKENS)),
        dimensions={"tokens": (2, longest)},
        working=lambda width, height: {"tokens": longest},
        exclude=("*position_embedding.weight",),
        weights=renamed(weights, _clip_name),
    )


def t5_text(
    config: Mapping[str, Any], weights: Weights, name: str = "text_encoder_2", longest: int = 512
) -> ComponentSource:
    """Describe a T5 encoder: tokens, padded to the full length, -> `embeddings`."""
    return ComponentSource(
        name=name,
        module=lambda: T5Text(config),
        inputs=(_ids(),),
        outputs=(TensorSpec(name="embeddings", dtype="float32", shape=(1, "tokens", config["d_model"])),),
        examples=tuple(
            {"input_ids": _tokens(config["vocab_size"], tokens, seed)}
            for seed, tokens in enumerate(_LONG_EXAMPLE_TOKENS)
        ),
        dimensions={"tokens": (2, longest)},
        working=lambda width, height: {"tokens": longest},
        exclude=("*relative_attention_bias.weight",),
        weights=renamed(weights, _t5_name),
    )


def qwen3_text(
    config: Mapping[str, Any],
    weights: Weights,
    layers: Sequence[int],
    name: str = "text_encoder",
    longest: int = 512,
) -> ComponentSource:
    """Describe the first layers of Qwen3: tokens, bias and rotary tables -> `embeddings`, all `layers` side by side."""
    head = head_width(config)
    depth = max(layers)

    def example(tokens: int, seed: int) -> Arrays:
        padding = tokens // 4
        cos, sin = rotary.halves(np.arange(tokens)[:, None] * rotary.frequencies(head, rotary_theta(config)))
        return {
            "input_ids": _tokens(config["vocab_size"], tokens, seed),
            "attention_bias": causal_bias(tokens, tokens - padding),
            "rotary_cos": cos,
            "rotary_sin": sin,
        }

    def kept(source: str) -> str | None:
        name = source.removeprefix("model.")
        layer = name.removeprefix("layers.").split(".")[0]
        return name if name == "embed_tokens.weight" or (layer.isdigit() and int(layer) < depth) else None

    return ComponentSource(
        name=name,
        module=lambda: Qwen3Text(config, layers),
        inputs=(
            _ids(),
            _bias(),
            TensorSpec(name="rotary_cos", dtype="float32", shape=("tokens", head)),
            TensorSpec(name="rotary_sin", dtype="float32", shape=("tokens", head)),
        ),
        outputs=(
            TensorSpec(name="embeddings", dtype="float32", shape=(1, "tokens", len(layers) * config["hidden_size"])),
        ),
        examples=tuple(example(tokens, seed) for seed, tokens in enumerate(_LONG_EXAMPLE_TOKENS)),
        dimensions={"tokens": (2, longest)},
        working=lambda width, height: {"tokens": longest},
        weights=renamed(weights, kept),
    )


def token_settings(tokenizer: Path, tokens: int) -> dict[str, int]:
    """Return the manifest's description of a text that is padded at its end: `tokens` in all, and the `padding`.

    Raises ConversionError when the tokenizer can't be read or has no padding token.
    """
    return {"tokens": tokens, "padding": _padding(open_tokenizer(tokenizer))}


def open_tokenizer(folder: Path) -> Any:
    """Return transformers' tokenizer of a folder; raises ConversionError when it can't be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ConversionError(f"the tokenizer in {folder.name} can't be read", got=error) from error


def head_width(config: Mapping[str, Any]) -> int:
    """Return how many channels a head of Qwen3 has."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def rotary_theta(config: Mapping[str, Any]) -> float:
    """Return the base of Qwen3's rotary frequencies, from the config.json of either transformers 4 or 5."""
    return float((config.get("rope_parameters") or config)["rope_theta"])


def _padding(tokenizer: Any) -> int:
    if tokenizer.pad_token_id is None or tokenizer.padding_side != "right":
        raise ConversionError(
            "the tokenizer doesn't pad as this model was trained",
            got=f"token {tokenizer.pad_token}, on the {tokenizer.padding_side}",
            allowed="a padding token, on the right",
        )
    return int(tokenizer.pad_token_id)


def _clip_name(name: str) -> str | None:
    name = name.removeprefix("text_model.")
    return None if name.endswith("position_ids") else f"model.{name}"


def _t5_name(name: str) -> str | None:
    if name == "shared.weight":
        return "model.embed_tokens.weight"
    # some files hold the tied embedding a second time
    inside = name.startswith("encoder.") and name != "encoder.embed_tokens.weight"
    return f"model.{name.removeprefix('encoder.')}" if inside else None


def _ids() -> TensorSpec:
    return TensorSpec(name="input_ids", dtype="int64", shape=(1, "tokens"))


def _bias() -> TensorSpec:
    return TensorSpec(name="attention_bias", dtype="float32", shape=(1, 1, "tokens", "tokens"))


def _tokens(vocabulary: int, tokens: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, vocabulary, (1, tokens), dtype=np.int64)
