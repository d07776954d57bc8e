"""What the families on FLUX.1 share: the four components of the checkpoint, and their settings.

Kontext and UMO run the same graphs; where a reference stands, how large it is and how steps are spaced is data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from converters.autoencoders import autoencoder, latent_settings
from converters.calibration import CalibrationData
from converters.flux_modules import FLUX_THETA, MOST_TEXT_TOKENS, flux_denoiser
from converters.source import ComponentSource, Model, Weights
from converters.text_encoders import clip_text, t5_text, token_settings
from converters.tokenizers_file import tokenizer_json

if TYPE_CHECKING:
    from converters.folder import PipelineFolder

PATCH: Final = 2
"""A token of the denoiser is a patch of 2 x 2 latents: channels first, then rows, then columns."""

CLIP_TOKENS: Final = 77
TRANSFORMER: Final = "transformer"
TEXT_ENCODERS: Final = ("text_encoder", "text_encoder_2")


def flux_model(
    folder: PipelineFolder,
    weights: Mapping[str, Weights],
    data: CalibrationData,
    *,
    family: str,
    settings: Mapping[str, Any],
    reference_pixels: Callable[[int], int],
    loras: str = "",
) -> Model:
    """Describe a model on FLUX.1 from the folder's configurations and the weights of its components, by name.

    `settings` are the family's own, such as `steps`; what follows from the checkpoint is added. `reference_pixels`
    gives the area at which a reference is seen for the result's.
    """
    config = folder.config(TRANSFORMER)
    clip, t5 = (folder.config(name) for name in TEXT_ENCODERS)
    components: tuple[ComponentSource, ...] = (
        clip_text(clip, weights["text_encoder"]),
        t5_text(t5, weights["text_encoder_2"], longest=MOST_TEXT_TOKENS),
        flux_denoiser(config, weights[TRANSFORMER], reference_pixels),
        *autoencoder(folder.config("vae"), weights["vae"], data),
    )
    derived = {
        "pipeline": folder.pipeline,
        "scheduler": scheduler_settings(folder),
        "latents": {**latent_settings(folder.config("vae"), weights["vae"]), "patch": PATCH},
        "text": {
            "clip": token_settings(folder.folder("tokenizer"), min(CLIP_TOKENS, clip["max_position_embeddings"])),
            "t5": token_settings(folder.folder("tokenizer_2"), MOST_TEXT_TOKENS),
        },
        "rotary": {"widths": list(config["axes_dims_rope"]), "theta": FLUX_THETA},
        "guidance_embedded": bool(config["guidance_embeds"]),
    }
    return Model(
        family=family,
        name=family,
        components=components,
        settings={**derived, **settings},
        provenance={"source": folder.source, "licence": folder.licence, **({"loras": loras} if loras else {})},
        files={name: tokenizer_json(folder.folder(name)) for name in ("tokenizer", "tokenizer_2")},
    )


def scheduler_settings(folder: PipelineFolder) -> dict[str, Any]:
    """Return the checkpoint's scheduler without what only diffusers needs; FLUX's own shift where it says none.

    The configurations as published don't name the kind of shift, which diffusers takes to be exponential.
    """
    config = {name: value for name, value in folder.config("scheduler").items() if not name.startswith("_")}
    shift = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
    return {**shift, "time_shift_type": "exponential", **config}
