"""DreamLite and DreamLite-mobile: a UNet of 0.39 B parameters, Qwen3-VL-2B, a tiny autoencoder.

The picture to edit stands right of the noise in one wide latent; the text encoder sees it too, at 512 x 512.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tokenizers import Tokenizer

from converters.autoencoders import autoencoder, compression, latent_settings, plausible_latents
from converters.calibration import CalibrationData
from converters.lora import fuse, require_components
from converters.qwen3_vl import MAX_TOKENS, read_config, text_component, vision_component
from converters.qwen_vl import preprocessing
from converters.shards import renamed
from converters.source import Arrays, ComponentSource, FixedForm, Model, Weights
from converters.tokenizers_file import tokenizer_json
from converters.unets import EVEN_ROWS, SENSITIVE, DreamLiteDenoiser, PaddedDreamLiteDenoiser
from edge_runtime.errors import OptionError
from edge_runtime.tensors import TensorSpec

if TYPE_CHECKING:
    from converters.folder import PipelineFolder
    from converters.lora import Lora

UNET: Final = "unet"
CLASSES: Final[Mapping[str, Mapping[str, Any]]] = {
    "DreamLiteMobilePipeline": {"name": "dreamlite-mobile", "steps": 4, "guidance": {}},
    "DreamLitePipeline": {"name": "dreamlite", "steps": 30, "guidance": {"text": 3.5, "image": 1.5}},
}
"""Per class: the model's name, and steps and guidance when nothing else is asked for. Mobile is distilled without."""

TEMPLATE: Final = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new image "
    "that meets the user's requirements while maintaining consistency with the original input where appropriate."
    "<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n"
)
INSTRUCTION: Final = (
    "[Edit]: A diptych with two side-by-side images of the same scene. Compared to the right side, the left one has {}"
)
DROPPED_TOKENS: Final = 64
LONGEST_INSTRUCTION: Final = 200
TEXT_STEP: Final = 64
"""Where texts have one length, it is a multiple of this: words that run into each other may take a few tokens more."""

TEXT_TOKENS: Final = 400
"""Of a usual instruction of up to 64 tokens, with the template and the picture's 256: for the forecast of memory."""

VISION_PIXELS: Final = 512
MULTIPLE_PIXELS: Final = 16
"""diffusers floors to multiples of 8 and then prepares the picture in multiples of 16: only those agree."""

LARGEST_PIXELS: Final = 2048
AREA: Final = 1024 * 1024
"""What it was trained at; photos of fewer pixels are edited at their own size."""

# what diffusers' scheduler takes where a checkpoint is silent
_SCHEDULER: Final = {
    "num_train_timesteps": 1000, "shift": 1.0, "use_dynamic_shifting": False, "time_shift_type": "exponential",
    "base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15,
}  # fmt: skip
_EXAMPLES: Final = ((8, 24, 88), (14, 20, 72))
_CALIBRATION_INPUTS: Final = 8
_TEXT_SPREAD: Final = 37.0
"""Standard deviation of the hidden state before the last norm, as measured on the published weights."""


class DreamLite:
    """Both classes; they differ in steps and guidance alone."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The values of `_class_name` in model_index.json that it converts."""
        return tuple(CLASSES)

    def open(self, folder: PipelineFolder, loras: Sequence[Lora], data: CalibrationData) -> Model:
        """Describe every component; raises ConversionError when something doesn't fit."""
        require_components(loras, (UNET,))
        config = read_config(folder.config("text_encoder"))
        vae, text = folder.config("vae"), folder.weights("text_encoder")
        tokenizer = tokenizer_json(folder.folder("tokenizer"))
        longest = _longest_text(tokenizer, config.vision_config)
        return Model(
            family="dreamlite",
            name=CLASSES[folder.pipeline]["name"],
            components=(
                vision_component(config, text, VISION_PIXELS),
                text_component(config, text, VISION_PIXELS, TEXT_TOKENS),
                _denoiser(folder, fuse(folder.weights(UNET), loras, component=UNET), longest),
                *autoencoder(vae, folder.weights("vae"), data),
            ),
            settings=_settings(folder, config),
            provenance={
                "source": folder.source,
                "licence": folder.licence,
                **({"loras": ", ".join(lora.name for lora in loras)} if loras else {}),
            },
            files={"tokenizer": tokenizer},
        )


def _longest_text(tokenizer: bytes, vision: Any) -> int:
    """Return how many tokens the longest instruction gives the denoiser, rounded up."""
    model = Tokenizer.from_str(tokenizer.decode())
    frame = len(model.encode(TEMPLATE.format(INSTRUCTION.format(""))).ids)
    image: int = (VISION_PIXELS // vision.patch_size // vision.spatial_merge_size) ** 2
    tokens = frame - 1 + image + LONGEST_INSTRUCTION - DROPPED_TOKENS
    return -(-tokens // TEXT_STEP) * TEXT_STEP


def _denoiser(folder: PipelineFolder, weights: Weights, longest: int) -> ComponentSource:
    config = folder.config(UNET)
    channels, width = config["in_channels"], config["encoder_hid_dim"]
    factor = compression(folder.config("vae"))
    largest = LARGEST_PIXELS // factor
    image = (1, channels, "latent_height", "latent_width")

    def example(rows: int, columns: int, tokens: int, seed: int, time: float = 750.0) -> Arrays:
        random = np.random.default_rng(seed)
        picture, reference = (plausible_latents((channels, rows, columns // 2), 2 * seed + side) for side in (0, 1))
        noisy = picture + time / 1000 * (random.normal(size=picture.shape) - picture)
        return {
            "hidden_states": np.concatenate((noisy, reference), axis=3).astype(np.float32),
            "timestep": np.array([time], np.float32),
            "encoder_hidden_states": random.normal(0, _TEXT_SPREAD, (1, tokens, width)).astype(np.float32),
            "time_ids": np.array([[columns * 4, rows * 8]], np.float32),
        }

    def calibration() -> Iterator[Arrays]:
        times = np.linspace(1000, 250, _CALIBRATION_INPUTS)
        return (example(16, 32, 96, 100 + place, float(time)) for place, time in enumerate(times))

    def pinned(width: int, height: int) -> ComponentSource:
        multiple = factor * 2 ** (len(config["block_out_channels"]) - 1)
        if width % multiple or height % multiple:  # else enlarging would not give back what halving took
            raise OptionError(
                "the denoiser has no graph of this size", got=f"{width} x {height} pixels",
                allowed=f"sides that are multiples of {multiple} pixels", param="size",
            )  # fmt: skip
        rows, columns = height // factor, 2 * width // factor
        inputs = [example(rows, columns, tokens, seed) for seed, (_, _, tokens) in enumerate(_EXAMPLES)]
        padded = FixedForm(
            sizes=({"text_tokens": longest},), module=lambda: PaddedDreamLiteDenoiser(config), told=("text_tokens",)
        )
        found = source.at_sizes({"latent_height": rows, "latent_width": columns}, inputs)
        return replace(found, dimensions={"text_tokens": (2, longest)}, fixed=padded)

    source = ComponentSource(
        name="denoiser",
        module=lambda: DreamLiteDenoiser(config),
        inputs=(
            TensorSpec(name="hidden_states", dtype="float32", shape=image),
            TensorSpec(name="timestep", dtype="float32", shape=(1,)),
            TensorSpec(name="encoder_hidden_states", dtype="float32", shape=(1, "text_tokens", width)),
            TensorSpec(name="time_ids", dtype="float32", shape=(1, 2)),
        ),
        outputs=(TensorSpec(name="prediction", dtype="float32", shape=(1, config["out_channels"], *image[2:])),),
        examples=tuple(example(*sizes, seed=seed) for seed, sizes in enumerate(_EXAMPLES)),
        dimensions={"latent_height": (4, largest), "latent_width": (8, 2 * largest), "text_tokens": (2, MAX_TOKENS)},
        working=lambda width, height: {
            "latent_height": height // factor,
            "latent_width": 2 * width // factor,
            "text_tokens": TEXT_TOKENS - DROPPED_TOKENS,
        },
        calibration=calibration,
        exclude=SENSITIVE,
        even_rows=EVEN_ROWS,
        weights=renamed(weights, lambda name: f"model.{name}"),
        pinned=pinned,
    )
    return source


def _settings(folder: PipelineFolder, config: Any) -> dict[str, Any]:
    scheduler = {name: value for name, value in folder.config("scheduler").items() if not name.startswith("_")}
    defaults = CLASSES[folder.pipeline]
    text, vision = config.text_config, config.vision_config
    return {
        "pipeline": folder.pipeline,
        "scheduler": {**_SCHEDULER, **scheduler},
        "steps": defaults["steps"],
        "guidance": dict(defaults["guidance"]),
        "size": {"multiple": MULTIPLE_PIXELS, "largest": LARGEST_PIXELS, "area": AREA, "enlarges": False},
        "latents": latent_settings(folder.config("vae"), folder.weights("vae")),
        "text": {
            "template": TEMPLATE,
            "instruction": INSTRUCTION,
            "negative": "",
            "dropped_tokens": DROPPED_TOKENS,
            "most_tokens": LONGEST_INSTRUCTION,
            "image_token": config.image_token_id,
            "layers": text.num_hidden_layers,
            "final_norm": False,
            "rotary": {
                "theta": text.rope_parameters["rope_theta"],
                "width": text.head_dim,
                "sections": list(text.rope_parameters.get("mrope_section", (24, 20, 20))),
                "interleaved": True,
            },
        },
        "vision": {
            "pixels": VISION_PIXELS,
            **preprocessing(folder)[0],
            "levels": len(vision.deepstack_visual_indexes),
            "positions_per_side": int(vision.num_position_embeddings**0.5),
            "rotary": {
                "theta": vision.rope_parameters["rope_theta"],
                "width": vision.hidden_size // vision.num_heads,
            },
        },
    }


PIPELINE: Final = DreamLite()
