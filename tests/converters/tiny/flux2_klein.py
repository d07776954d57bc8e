"""A tiny random checkpoint of FLUX.2 klein in diffusers layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tiny.filled import filled
from tiny.qwen_vl import VOCABULARY, save_tokenizer

SCHEDULER = {"num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": True}
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 29,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000},
    "tie_word_embeddings": True,
}
TRANSFORMER = {
    "in_channels": 32,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 192,
    "timestep_guidance_channels": 32,
    "axes_dims_rope": (8, 8, 8, 8),
    "guidance_embeds": False,
}
VAE = {
    "block_out_channels": (32, 32, 64, 64),
    "layers_per_block": 1,
    "latent_channels": 8,
    "norm_num_groups": 16,
}
# as Qwen3's, for what the pipeline asks of it
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)


def build(folder: Path, seed: int = 0) -> None:
    """Write the checkpoint; `Flux2KleinPipeline.from_pretrained` opens it."""
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
    from transformers import Qwen3Config, Qwen3ForCausalLM

    filled(Qwen3ForCausalLM(Qwen3Config(**TEXT)), seed).save_pretrained(folder / "text_encoder")
    filled(Flux2Transformer2DModel(**TRANSFORMER), seed + 1).save_pretrained(folder / "transformer")
    vae = filled(AutoencoderKLFlux2(**VAE), seed + 2)
    random = torch.Generator().manual_seed(seed)
    vae.bn.running_mean.copy_(0.1 * torch.randn(vae.bn.running_mean.shape, generator=random))
    vae.bn.running_var.copy_(0.5 + torch.rand(vae.bn.running_var.shape, generator=random))
    vae.save_pretrained(folder / "vae")
    FlowMatchEulerDiscreteScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    save_tokenizer(folder / "tokenizer")
    (folder / "tokenizer" / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    index = {
        "_class_name": "Flux2KleinPipeline",
        "_diffusers_version": "0.42.1",
        "is_distilled": True,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3ForCausalLM"],
        "tokenizer": ["transformers", "Qwen2TokenizerFast"],
        "transformer": ["diffusers", "Flux2Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLFlux2"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
