"""Checkpoints of the published models' true shapes with random weights, written as shards of bfloat16.

Configurations are diffusers' and transformers' defaults, where those are the published model's, and what differs:
FLUX.1 Kontext [dev] (https://github.com/black-forest-labs/flux), FLUX.2 [klein] 4B with Qwen3-4B
(https://github.com/black-forest-labs/flux2), DreamLite-mobile with Qwen3-VL-2B (https://arxiv.org/abs/2603.28713).

Nothing can be downloaded where this runs; speed and memory don't depend on the values.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

VISION: Final = {
    "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "out_hidden_size": 2048,
    "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [5, 11, 17],
}  # fmt: skip
QWEN3_VL_2B: Final = {
    "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "rope_theta": 5000000,
    "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
}  # fmt: skip
QWEN3_4B: Final = {
    "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "rope_theta": 1000000, "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True, "max_position_embeddings": 40960,
}  # fmt: skip
KONTEXT: Final = {"guidance_embeds": True}
KLEIN: Final = {
    "in_channels": 128, "num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "attention_head_dim": 128,
    "joint_attention_dim": 7680, "guidance_embeds": False,
}  # fmt: skip
DREAMLITE: Final = {
    "sample_size": 128, "block_out_channels": (256, 512, 896), "attention_head_dim": (4, 8, 14), "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 4), "cross_attention_dim": 2304, "encoder_hid_dim": 2048,
    "encoder_hid_dim_type": "text_proj_rms", "addition_embed_type": "time", "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 512, "ff_mult": 3, "num_kv_heads": 1, "qk_norm": "rms_norm",
    "use_sep_conv": True, "use_linear_projection": True,
}  # fmt: skip
TINY_VAE: Final = {
    "encoder_block_out_channels": [64] * 4, "decoder_block_out_channels": [64] * 4,
    "num_encoder_blocks": [1, 3, 3, 3], "num_decoder_blocks": [3, 3, 3, 1], "latent_channels": 4, "scaling_factor": 1.0,
}  # fmt: skip
PARTS: Final[Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]]] = {
    "kontext": {"transformer": ("diffusers.FluxTransformer2DModel", KONTEXT)},
    "dreamlite": {
        "unet": ("diffusers.DreamLiteUNetModel", DREAMLITE),
        "text_encoder": (
            "transformers.Qwen3VLForConditionalGeneration",
            {"vision_config": VISION, "text_config": QWEN3_VL_2B, "tie_word_embeddings": True},
        ),
        "vae": ("diffusers.AutoencoderTiny", TINY_VAE),
    },
    "klein": {
        "transformer": ("diffusers.Flux2Transformer2DModel", KLEIN),
        "text_encoder": ("transformers.Qwen3ForCausalLM", QWEN3_4B),
        "vae": ("diffusers.AutoencoderKLFlux2", {}),
    },
}
"""By model and part: its class and its configuration."""

FAMILIES: Final = {"kontext": "flux_kontext", "dreamlite": "dreamlite", "klein": "flux2_klein"}
"""Whose tiny checkpoint of the tests gives everything else: tokenizers, schedules, small parts."""

SHARD_BYTES: Final = 5_000_000_000
Array = np.ndarray[Any, Any]
_POOL: Final = 1 << 24


def write_checkpoint(model: str, folder: Path, parts: Collection[str] | None = None) -> None:
    """Write a checkpoint in diffusers layout: the parts of PARTS, or some of them, at true size, all else tiny."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "converters"))
    importlib.import_module(f"tiny.{FAMILIES[model]}").build(folder)
    for part, (name, settings) in PARTS[model].items():
        if parts is not None and part not in parts:
            continue
        shutil.rmtree(folder / part)
        _write_part(folder / part, name, settings)
    if model == "dreamlite" and (parts is None or "text_encoder" in parts):
        _write_words(folder)


def _write_words(folder: Path) -> None:
    """Put a tokenizer that knows words in the place of the tests' tokenizer of bytes, whose texts are far longer.

    Its merges are learned from the template, so that a text has about the number of tokens that Qwen's gives it.
    """
    from tiny.qwen_vl import SPECIAL_TOKENS, save_tokenizer
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from converters.pipelines.dreamlite import INSTRUCTION, TEMPLATE

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, show_progress=False)
    words.train_from_iterator([TEMPLATE, INSTRUCTION, "make it snowy"], trainer)
    learned = json.loads(words.to_str())["model"]
    vocabulary = dict(learned["vocab"])
    for token in SPECIAL_TOKENS:
        vocabulary[token] = len(vocabulary)
    merges = [tuple(merge) for merge in learned["merges"]]
    for part in ("tokenizer", "processor"):
        save_tokenizer(folder / part, vocabulary, merges)
    path = folder / "text_encoder" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for name in ("image", "video", "vision_start", "vision_end"):
        config[f"{name}_token_id"] = vocabulary[f"<|{name}{'' if '_' in name else '_pad'}|>"]
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")


def _write_part(folder: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Write a module's configuration and random weights of its shapes, without ever holding them."""
    import torch

    library, _, kind = name.partition(".")
    module_class = getattr(importlib.import_module(library), kind)
    folder.mkdir(parents=True)
    with torch.device("meta"):
        if library == "diffusers":
            module = module_class(**settings)
            module.save_config(folder)
            stem = "diffusion_pytorch_model"
        else:
            module = module_class(module_class.config_class(**settings))
            module.config.save_pretrained(folder)
            stem = "model"
    tied = {"lm_head.weight"} if settings.get("tie_word_embeddings") else set()
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items() if key not in tied}
    write_weights(shapes, folder, stem)


def write_weights(shapes: Mapping[str, tuple[int, ...]], folder: Path, stem: str, seed: int = 0) -> int:
    """Write tensors of these shapes as `stem-00001-of-N.safetensors` with an index; returns the number of values.

    Vectors are about 1 or 0 by their name, matrices normally distributed with deviation 0.02.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pool = _pool(seed)
    shards = list(_shards(shapes))
    names = {}
    for place, shard in enumerate(shards, 1):
        file = f"{stem}-{place:05d}-of-{len(shards):05d}.safetensors"
        _write_shard({name: shapes[name] for name in shard}, folder / file, pool)
        names.update(dict.fromkeys(shard, file))
    total = sum(math.prod(shape) for shape in shapes.values())
    index = {"metadata": {"total_size": 2 * total}, "weight_map": names}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    return total


def _pool(seed: int) -> Array:
    """Return bfloat16 bits of normally distributed numbers, of which all matrices are cut."""
    values = np.random.default_rng(seed).standard_normal(_POOL, np.float32) * np.float32(0.02)
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def _shards(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[list[str]]:
    shard: list[str] = []
    size = 0
    for name, shape in shapes.items():
        size_here = 2 * math.prod(shape)
        if shard and size + size_here > SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += size_here
    yield shard


def _write_shard(shapes: Mapping[str, tuple[int, ...]], path: Path, pool: Array) -> None:
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for place, (name, shape) in enumerate(shapes.items()):
            for piece in _values(name, shape, pool, 7919 * place):
                file.write(piece.tobytes())


def _values(name: str, shape: tuple[int, ...], pool: Array, start: int) -> Iterator[Array]:
    left = math.prod(shape)
    if len(shape) < 2:
        one = 0 if name.endswith(("bias", "running_mean")) else 0x3F80  # 1.0
        yield np.full(left, one, np.uint16)
        return
    while left:
        begin = start % (_POOL // 2)
        piece = pool[begin : begin + min(left, _POOL // 2)]
        yield piece
        left -= len(piece)
        start += len(piece) + 1
