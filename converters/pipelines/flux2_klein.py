"""FLUX.2 klein, 4B and 9B: one transformer for text and several pictures, with Qwen3 as its reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from converters.autoencoders import autoencoder, latent_settings
from converters.calibration import CalibrationData
from converters.flux_family import PATCH, TRANSFORMER, scheduler_settings
from converters.flux_modules import FLUX2_THETA, MOST_TEXT_TOKENS, flux2_denoiser
from converters.lora import fuse, require_components
from converters.source import Model
from converters.text_encoders import head_width, open_tokenizer, qwen3_text, rotary_theta, token_settings
from converters.tokenizers_file import tokenizer_json
from edge_runtime.errors import ConversionError

if TYPE_CHECKING:
    from converters.folder import PipelineFolder
    from converters.lora import Lora

LAYERS: Final = (9, 18, 27)
"""Of the text encoder: the hidden states that stand side by side in a token."""

SETTINGS: Final[dict[str, Any]] = {
    # as diffusers does: a smaller photo is edited at its own size, a larger one at the area that references are cut to
    "size": {"multiple": 16, "area": 1024 * 1024, "enlarges": False},
    # positions: the first axis tells pictures apart
    "references": {"most": 4, "first": 10, "step": 10, "area": 1024 * 1024, "multiple": 16},
}
_DISTILLED: Final[dict[str, Any]] = {"steps": 4, "guidance": {}}
_BASE: Final[dict[str, Any]] = {"steps": 50, "guidance": {"text": 4.0}}
_MARK: Final = "THE INSTRUCTION"


class Flux2Klein:
    """Flux2KleinPipeline, distilled or not, with or without LoRAs for its transformer."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The values of `_class_name` in model_index.json that it converts."""
        return ("Flux2KleinPipeline",)

    def open(self, folder: PipelineFolder, loras: Sequence[Lora], data: CalibrationData) -> Model:
        """Describe every component; raises ConversionError when something doesn't fit."""
        require_components(loras, [TRANSFORMER])
        config, text, vae = (folder.config(name) for name in (TRANSFORMER, "text_encoder", "vae"))
        if text["num_hidden_layers"] < max(LAYERS):
            raise ConversionError(
                "the text encoder has too few layers", got=text["num_hidden_layers"], allowed=f"at least {max(LAYERS)}"
            )
        return Model(
            family="flux2-klein",
            name="flux2-klein",
            components=(
                qwen3_text(text, folder.weights("text_encoder"), LAYERS, longest=MOST_TEXT_TOKENS),
                flux2_denoiser(
                    config,
                    fuse(folder.weights(TRANSFORMER), loras, component=TRANSFORMER),
                    reference_pixels=lambda pixels: min(pixels, SETTINGS["references"]["area"]),
                ),
                *autoencoder(vae, folder.weights("vae"), data),
            ),
            settings=_settings(folder),
            provenance={
                "source": folder.source,
                "licence": folder.licence,
                **({"loras": ", ".join(lora.name for lora in loras)} if loras else {}),
            },
            files={"tokenizer": tokenizer_json(folder.folder("tokenizer"))},
        )


def _settings(folder: PipelineFolder) -> dict[str, Any]:
    config, text, vae = (folder.config(name) for name in (TRANSFORMER, "text_encoder", "vae"))
    distilled = bool(folder.settings.get("is_distilled", False))
    return {
        **SETTINGS,
        **(_DISTILLED if distilled else _BASE),
        "pipeline": folder.pipeline,
        "scheduler": scheduler_settings(folder),
        "latents": {**latent_settings(vae, folder.weights("vae")), "patch": PATCH},
        "text": {
            **token_settings(folder.folder("tokenizer"), MOST_TEXT_TOKENS),
            "template": _template(folder),
            "negative": "",
            "layers": list(LAYERS),
            "rotary": {"width": head_width(text), "theta": rotary_theta(text)},
        },
        "rotary": {"widths": list(config["axes_dims_rope"]), "theta": config.get("rope_theta", FLUX2_THETA)},
        "guidance_embedded": bool(config["guidance_embeds"]),
    }


def _template(folder: PipelineFolder) -> str:
    """Return what stands around an instruction, which `{}` marks, as the checkpoint's own chat template has it."""
    tokenizer = open_tokenizer(folder.folder("tokenizer"))
    rendered: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": _MARK}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    if rendered.count(_MARK) != 1 or "{}" in rendered:
        raise ConversionError("the tokenizer's chat template doesn't hold the instruction once", got=ascii(rendered))
    return rendered.replace(_MARK, "{}")


PIPELINE: Final = Flux2Klein()
