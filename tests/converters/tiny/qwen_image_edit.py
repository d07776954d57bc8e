"""A tiny random Qwen-Image-Edit checkpoint in diffusers layout, and low-rank weights for it as Lightning saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tiny.filled import filled
from tiny.qwen_vl import VOCABULARY, save_processor, save_tokenizer, token_id

SCHEDULER = {
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "use_dynamic_shifting": True,
    "base_image_seq_len": 256,
    "max_image_seq_len": 8192,
    "base_shift": 0.5,
    "max_shift": 0.9,
    "shift_terminal": 0.02,
    "time_shift_type": "exponential",
}
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [4, 6, 6]},
    "bos_token_id": token_id("<|endoftext|>"),
    "eos_token_id": token_id("<|im_end|>"),
}
VISION = {
    "depth": 3,
    "hidden_size": 64,
    "intermediate_size": 108,  # no multiple of 32, as the true one, 3420, is none
    "num_heads": 4,
    "out_hidden_size": 128,
    "window_size": 56,
    "fullatt_block_indexes": [1],
}
TRANSFORMER = {
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 6,
    "joint_attention_dim": 128,
    "axes_dims_rope": (8, 12, 12),
}
VAE = {"base_dim": 32, "num_res_blocks": 1}
RANK = 4


def build(folder: Path, seed: int = 0, plus: bool = False, zero_cond_t: bool = False) -> None:
    """Write the checkpoint; `QwenImageEditPipeline.from_pretrained`, or Plus, opens it, given a processor."""
    from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokens = {
        "image_token_id": token_id("<|image_pad|>"),
        "video_token_id": token_id("<|video_pad|>"),
        "vision_start_token_id": token_id("<|vision_start|>"),
        "vision_end_token_id": token_id("<|vision_end|>"),
    }
    config = Qwen2_5_VLConfig(text_config=TEXT, vision_config=VISION, **tokens)
    filled(Qwen2_5_VLForConditionalGeneration(config), seed).save_pretrained(folder / "text_encoder")
    transformer = QwenImageTransformer2DModel(**TRANSFORMER, zero_cond_t=zero_cond_t)
    filled(transformer, seed + 1).save_pretrained(folder / "transformer", max_shard_size="1MB")
    vae = filled(AutoencoderKLQwenImage(**VAE), seed + 2)
    random = torch.Generator().manual_seed(seed)
    for name, parameter in vae.named_parameters():
        if name.endswith(".gamma"):
            parameter.data = 1 + 0.1 * torch.randn(parameter.shape, generator=random)
    vae.save_pretrained(folder / "vae")
    FlowMatchEulerDiscreteScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    save_tokenizer(folder / "tokenizer")
    save_processor(
        folder / "processor", min_pixels=3136, max_pixels=12845056,
        image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711],
    )  # fmt: skip
    index = {
        "_class_name": "QwenImageEditPlusPipeline" if plus else "QwenImageEditPipeline",
        "_diffusers_version": "0.42.1",
        "processor": ["transformers", "Qwen2VLProcessor"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "QwenImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLQwenImage"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))


def processor(folder: Path) -> Any:
    """Open a processor's folder as the library would, without its part for videos."""
    from transformers import AutoTokenizer, Qwen2VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    class WithoutVideo(Qwen2VLProcessor):  # type: ignore[misc]
        def check_argument_for_proper_class(self, name: str, argument: object) -> type:
            return type(argument)

    return WithoutVideo(
        image_processor=Qwen2VLImageProcessorPil.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
    )


def write_lightning(path: Path, seed: int = 0) -> None:
    """Write low-rank weights for attention, feed-forward and modulation of every block."""
    width = TRANSFORMER["attention_head_dim"] * TRANSFORMER["num_attention_heads"]
    sizes = {
        "attn.to_q": (width, width), "attn.add_v_proj": (width, width), "attn.to_out.0": (width, width),
        "img_mlp.net.0.proj": (width, 4 * width), "img_mlp.net.2": (4 * width, width), "txt_mod.1": (width, 6 * width),
    }  # fmt: skip
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for block in range(TRANSFORMER["num_layers"]):
        for module, (inputs, outputs) in sizes.items():
            name = f"transformer_blocks.{block}.{module}"
            tensors[f"{name}.lora_down.weight"] = 0.1 * torch.randn(RANK, inputs, generator=random)
            tensors[f"{name}.lora_up.weight"] = 0.1 * torch.randn(outputs, RANK, generator=random)
            tensors[f"{name}.alpha"] = torch.tensor(8.0)
    save_file(tensors, path)
