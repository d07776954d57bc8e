"""A tiny random DreamLite checkpoint in diffusers layout."""

from __future__ import annotations

import json
from pathlib import Path

from tiny.filled import filled
from tiny.qwen_vl import VOCABULARY, save_processor, save_tokenizer, token_id

SCHEDULER = {
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "use_dynamic_shifting": True,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
    "base_shift": 0.5,
    "max_shift": 1.16,
}
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 5000000.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True,
    },
}  # fmt: skip
VISION = {
    "depth": 3,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 2,
    "out_hidden_size": 64,
    "patch_size": 16,
    "num_position_embeddings": 144,
    "deepstack_visual_indexes": [0, 1],
}
UNET = {
    "sample_size": 16,
    "block_out_channels": (32, 64, 96),
    "attention_head_dim": (1, 2, 3),
    "layers_per_block": 1,
    "transformer_layers_per_block": (1, 1, 2),
    "cross_attention_dim": 96,
    "encoder_hid_dim": 64,
    "encoder_hid_dim_type": "text_proj_rms",
    "addition_embed_type": "time",
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 64,
    "ff_mult": 3,
    "use_linear_projection": True,
}
VAE = {
    "encoder_block_out_channels": (32, 32, 32, 32),
    "decoder_block_out_channels": (32, 32, 32, 32),
    "num_encoder_blocks": (1, 1, 1, 1),
    "num_decoder_blocks": (1, 1, 1, 1),
}


def build(folder: Path, seed: int = 0, pipeline: str = "DreamLiteMobilePipeline") -> None:
    """Write the checkpoint; `DreamLiteMobilePipeline.from_pretrained` opens it, given `tiny.qwen_vl`'s processor."""
    from diffusers import AutoencoderTiny, DreamLiteUNetModel, FlowMatchEulerDiscreteScheduler
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    tokens = {
        "image_token_id": token_id("<|image_pad|>"),
        "video_token_id": token_id("<|video_pad|>"),
        "vision_start_token_id": token_id("<|vision_start|>"),
        "vision_end_token_id": token_id("<|vision_end|>"),
    }
    config = Qwen3VLConfig(text_config=TEXT, vision_config=VISION, tie_word_embeddings=True, **tokens)
    filled(Qwen3VLForConditionalGeneration(config), seed).save_pretrained(folder / "text_encoder")
    filled(DreamLiteUNetModel(**UNET), seed + 1).save_pretrained(folder / "unet")
    filled(AutoencoderTiny(**VAE), seed + 2).save_pretrained(folder / "vae")
    FlowMatchEulerDiscreteScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    save_tokenizer(folder / "tokenizer")
    save_processor(folder / "processor", patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    index = {
        "_class_name": pipeline,
        "_diffusers_version": "0.42.1",
        "processor": ["transformers", "Qwen3VLProcessor"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3VLForConditionalGeneration"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "unet": ["diffusers", "DreamLiteUNetModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
