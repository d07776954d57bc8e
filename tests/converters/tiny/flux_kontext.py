"""A tiny random checkpoint of FLUX.1 in diffusers layout."""

from __future__ import annotations

import json
import string
from pathlib import Path

from tiny.filled import filled
from tiny.instruct_pix2pix import save_clip_tokenizer

SCHEDULER = {
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}
CLIP = {
    "vocab_size": 514,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 77,
    "bos_token_id": 0,
    "eos_token_id": 2,  # as published, though the end token is the vocabulary's last
    "pad_token_id": 1,
}
T5 = {
    "vocab_size": 128,
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 2,
    "num_heads": 4,
    "feed_forward_proj": "gated-gelu",
    "is_encoder_decoder": True,
    "tie_word_embeddings": False,
}
TRANSFORMER = {
    "in_channels": 32,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 64,
    "pooled_projection_dim": 64,
    "guidance_embeds": True,
    "axes_dims_rope": (8, 12, 12),
}
VAE = {
    "block_out_channels": (32, 32, 64, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "latent_channels": 8,
    "norm_num_groups": 16,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}


def build(folder: Path, seed: int = 0, pipeline: str = "FluxKontextPipeline") -> None:
    """Write the checkpoint; `FluxKontextPipeline.from_pretrained` opens it."""
    from diffusers import AutoencoderKL, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    filled(CLIPTextModel(CLIPTextConfig(**CLIP)), seed).save_pretrained(folder / "text_encoder")
    t5 = filled(T5EncoderModel(T5Config(**T5)), seed + 1)
    for block in t5.encoder.block:  # T5 doesn't divide its scores; small queries are part of its weights
        block.layer[0].SelfAttention.q.weight.data *= T5["d_kv"] ** -0.5
    t5.save_pretrained(folder / "text_encoder_2")
    # in two shards, as the true one is in three
    filled(FluxTransformer2DModel(**TRANSFORMER), seed + 2).save_pretrained(
        folder / "transformer", max_shard_size="1MB"
    )
    filled(AutoencoderKL(**VAE), seed + 3).save_pretrained(folder / "vae")
    (folder / "scheduler").mkdir()
    # as published: fewer members than diffusers would write today
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.30.0.dev0", **SCHEDULER}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler, indent=2))
    save_clip_tokenizer(folder / "tokenizer")
    save_t5_tokenizer(folder / "tokenizer_2")
    index = {
        "_class_name": pipeline,
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))


def save_t5_tokenizer(folder: Path) -> None:
    """Write a tokenizer of single letters with T5's special tokens."""
    from transformers import T5TokenizerFast

    letters = ["▁", *string.ascii_letters, *string.digits, *string.punctuation]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -2.0) for letter in letters)]
    T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=512).save_pretrained(folder)
