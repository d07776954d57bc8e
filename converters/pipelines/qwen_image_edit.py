"""Qwen-Image-Edit, for one picture, and its Plus variants 2509 and 2511, for several: a transformer of 20.4 B.

Qwen2.5-VL reads the instruction and sees the pictures; their latents stand behind the noise in the denoiser's sequence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converters.calibration import CalibrationData
from converters.lora import fuse, require_components
from converters.qwen25_vl import read_config, text_component, tokens_a_side, vision_component, window_side
from converters.qwen_image_modules import PATCH, THETA, qwen_image_denoiser
from converters.qwen_vl import preprocessing
from converters.source import Model
from converters.still_autoencoder import COMPRESSION, still_autoencoder
from converters.tokenizers_file import tokenizer_json
from edge_runtime.errors import ConversionError

if TYPE_CHECKING:
    from converters.folder import PipelineFolder
    from converters.lora import Lora

TRANSFORMER: Final = "transformer"
AREA: Final = 1024 * 1024
DROPPED_TOKENS: Final = 64
LONGEST_INSTRUCTION: Final = 1024
"""In tokens, the limit of diffusers' pipelines."""

WORDS: Final = 512
"""Tokens of a long instruction with the template, beside pictures, for the forecast of memory."""

TEMPLATE: Final = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new image "
    "that meets the user's requirements while maintaining consistency with the original input where appropriate."
    "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
"""`{}` is the `picture` of every picture, in order, and then the instruction."""

_PICTURE: Final = "<|vision_start|><|image_pad|><|vision_end|>"
CLASSES: Final[Mapping[str, Mapping[str, Any]]] = {
    "QwenImageEditPipeline": {
        "name": "qwen-image-edit", "steps": 50, "most": 1, "picture": _PICTURE, "seen": AREA, "size_of": "first",
    },
    "QwenImageEditPlusPipeline": {
        "name": "qwen-image-edit-plus", "steps": 40, "most": 3, "picture": f"Picture {{}}: {_PICTURE}",
        "seen": 384 * 384, "size_of": "last",
    },
}  # fmt: skip
"""Per class: steps, how many pictures at most, what stands for one in the text, at how many pixels the text encoder
sees it, and which picture the result has the shape of."""

GUIDANCE: Final = {"text": 4.0}
LIGHTNING: Final[Mapping[str, Any]] = {
    "base_image_seq_len": 256, "max_image_seq_len": 8192, "base_shift": math.log(3), "max_shift": math.log(3),
    "shift": 1.0, "shift_terminal": None, "time_shift_type": "exponential", "use_dynamic_shifting": True,
}  # fmt: skip
"""The schedule that Lightning was distilled with, a constant shift (ModelTC, Qwen-Image-Lightning, README.md)."""

# what diffusers' scheduler takes where a checkpoint is silent
_SCHEDULER: Final = {
    "num_train_timesteps": 1000, "shift": 1.0, "use_dynamic_shifting": False, "time_shift_type": "exponential",
    "base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15, "shift_terminal": None,
}  # fmt: skip
_DISTILLED_STEPS: Final = re.compile(r"(?<![\d.])([48])[-_ ]?steps?", re.IGNORECASE)


class QwenImageEdit:
    """Both classes, with or without LoRAs for their transformer."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The values of `_class_name` in model_index.json that it converts."""
        return tuple(CLASSES)

    def open(self, folder: PipelineFolder, loras: Sequence[Lora], data: CalibrationData) -> Model:
        """Describe every component; raises ConversionError when something doesn't fit."""
        require_components(loras, (TRANSFORMER,))
        qwen, text = read_config(folder.config("text_encoder")), folder.weights("text_encoder")
        weights = fuse(folder.weights(TRANSFORMER), loras, component=TRANSFORMER)
        seen = CLASSES[folder.pipeline]["seen"]
        text_tokens = tokens_a_side(qwen.vision_config, seen) ** 2 + WORDS
        return Model(
            family="qwen-image-edit",
            name=CLASSES[folder.pipeline]["name"],
            components=(
                vision_component(qwen, text, seen),
                text_component(qwen, text, seen, WORDS),
                qwen_image_denoiser(folder.config(TRANSFORMER), weights, AREA, text_tokens),
                *still_autoencoder(folder.config("vae"), folder.weights("vae"), data),
            ),
            settings=_settings(folder, qwen, distilled_steps(loras)),
            provenance={
                "source": folder.source,
                "licence": folder.licence,
                **({"loras": ", ".join(lora.name for lora in loras)} if loras else {}),
            },
            files={"tokenizer": tokenizer_json(folder.folder("tokenizer"))},
        )


def distilled_steps(loras: Sequence[Lora]) -> int | None:
    """Return for how many steps the model is distilled by a Lightning LoRA, as its name says, or else its metadata.

    None without one; raises ConversionError for one that doesn't say, and for two that disagree.
    """
    found: dict[int, str] = {}
    for lora in loras:
        name, metadata = lora.file.path.name, " ".join(lora.file.metadata.values())
        steps = _DISTILLED_STEPS.search(name) or _DISTILLED_STEPS.search(metadata)
        if steps:
            found[int(steps[1])] = name
        elif "lightning" in name.lower():
            raise ConversionError(
                f"the LoRA {name} doesn't say for how many steps it is", allowed="4steps or 8steps in the file's name"
            )
    if len(found) > 1:
        raise ConversionError("the LoRAs are for different numbers of steps", got=", ".join(found.values()))
    return next(iter(found), None)


def _settings(folder: PipelineFolder, qwen: Any, distilled: int | None) -> dict[str, Any]:
    kind, config, vae = CLASSES[folder.pipeline], folder.config(TRANSFORMER), folder.config("vae")
    scheduler = {name: value for name, value in folder.config("scheduler").items() if not name.startswith("_")}
    text, vision = qwen.text_config, qwen.vision_config
    return {
        "pipeline": folder.pipeline,
        "scheduler": {**_SCHEDULER, **scheduler, **(LIGHTNING if distilled else {})},
        "steps": distilled or kind["steps"],
        "distilled": distilled is not None,
        "guidance": {} if distilled else GUIDANCE,
        "guidance_rescaled": True,  # a token keeps the length that it has without guidance
        "size": {"multiple": 16, "area": AREA, "rounded_to": 32, "of": kind["size_of"]},
        "references": {"most": kind["most"], "area": AREA, "rounded_to": 32},
        "rotary": {"widths": list(config["axes_dims_rope"]), "theta": THETA},
        "latents": {
            "channels": vae["z_dim"],
            "compression": COMPRESSION,
            "patch": PATCH,
            # of every channel of a patch, as FLUX.2 has them
            **{name: np.repeat(vae[f"latents_{name}"], PATCH * PATCH).tolist() for name in ("mean", "std")},
        },
        "text": {
            "template": TEMPLATE,
            "picture": kind["picture"],
            "negative": " ",
            "dropped_tokens": DROPPED_TOKENS,
            "most_tokens": LONGEST_INSTRUCTION,
            "positions": "multimodal",  # as the weights were trained; see edge_runtime/families/qwen_image_edit.py
            "image_token": qwen.image_token_id,
            "layers": text.num_hidden_layers,
            "final_norm": True,
            "rotary": {
                "theta": text.rope_parameters["rope_theta"],
                "width": text.hidden_size // text.num_attention_heads,
                "sections": list(text.rope_parameters["mrope_section"]),
                "interleaved": False,
            },
        },
        "vision": {
            "area": kind["seen"],
            "rounded_to": 32,
            **_preprocessing(folder),
            "window": window_side(vision),
            "rotary": {
                "theta": vision.rope_parameters["rope_theta"],
                "width": vision.hidden_size // vision.num_heads,
            },
        },
    }


def _preprocessing(folder: PipelineFolder) -> dict[str, Any]:
    """Return how pixels become patches, and between which sizes; without any, those of transformers' own defaults."""
    patches, entries = preprocessing(folder)
    sizes = entries.get("size") or {}
    return {
        **patches,
        "least_pixels": entries.get("min_pixels") or sizes.get("shortest_edge") or 56 * 56,
        "most_pixels": entries.get("max_pixels") or sizes.get("longest_edge") or 28 * 28 * 1280,
    }


PIPELINE: Final = QwenImageEdit()
