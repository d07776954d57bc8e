"""InstructPix2Pix: Stable Diffusion 1.5 whose UNet gets the picture's latents beside the noise's.

The safety checker that checkpoints of this class carry isn't part of the artifact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converters.autoencoders import autoencoder, compression, latent_settings, plausible_latents
from converters.calibration import CalibrationData
from converters.lora import fuse, require_components
from converters.shards import renamed
from converters.source import Arrays, ComponentSource, Model, Weights
from converters.text_encoders import clip_text, token_settings
from converters.tokenizers_file import tokenizer_json
from converters.unets import EVEN_ROWS, SENSITIVE, StableDiffusionDenoiser
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec

if TYPE_CHECKING:
    from converters.folder import PipelineFolder
    from converters.lora import Lora

CLASS: Final = "StableDiffusionInstructPix2PixPipeline"
LORA_COMPONENTS: Final = ("unet", "text_encoder")
STEPS: Final = 20
"""diffusers' default is 100, the model card's example takes 10; from 20 on more steps hardly show."""

GUIDANCE: Final = {"text": 7.5, "image": 1.5}
LARGEST_PIXELS: Final = 2048
AREA: Final = 512 * 512
"""What Stable Diffusion 1.5 was trained at and the paper's demo scales photos to, in proportion.

Photos of fewer pixels are edited at their own size, as diffusers does; larger results are to be had by asking.
"""

SCHEDULER_CLASS: Final = "EulerAncestralDiscreteScheduler"
# what diffusers' EulerAncestralDiscreteScheduler takes where a checkpoint is silent
_SCHEDULER: Final = {
    "num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
    "prediction_type": "epsilon", "timestep_spacing": "linspace", "steps_offset": 0,
}  # fmt: skip
_EXAMPLES: Final = ((8, 12), (10, 9))
_CALIBRATION_INPUTS: Final = 8


class InstructPix2Pix:
    """The family of that one class."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The values of `_class_name` in model_index.json that it converts."""
        return (CLASS,)

    def open(self, folder: PipelineFolder, loras: Sequence[Lora], data: CalibrationData) -> Model:
        """Describe every component; raises ConversionError when something doesn't fit."""
        require_components(loras, LORA_COMPONENTS)
        weights = {name: fuse(folder.weights(name), loras, component=name) for name in LORA_COMPONENTS}
        text, vae = folder.config("text_encoder"), folder.config("vae")
        return Model(
            family="instruct-pix2pix",
            name="instruct-pix2pix",
            components=(
                clip_text(text, weights["text_encoder"]),
                _denoiser(folder, weights["unet"], text["max_position_embeddings"]),
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


def _denoiser(folder: PipelineFolder, weights: Weights, tokens: int) -> ComponentSource:
    config, vae = folder.config("unet"), folder.config("vae")
    channels, width = config["out_channels"], config["cross_attention_dim"]
    factor = compression(vae)
    largest = LARGEST_PIXELS // factor
    spread = 1.0 / vae.get("scaling_factor", 0.18215)
    size = ("latent_height", "latent_width")

    def example(rows: int, columns: int, seed: int, time: float = 700.0) -> Arrays:
        random = np.random.default_rng(seed)
        picture, reference = (plausible_latents((channels, rows, columns), 2 * seed + side) for side in (0, 1))
        share = np.cos(time / 1000 * np.pi / 2)  # about what is left of the picture at this time
        noisy = share * picture + np.sqrt(1 - share**2) * random.normal(size=picture.shape)
        return {
            "hidden_states": np.concatenate((noisy, spread * reference), axis=1).astype(np.float32),
            "timestep": np.array([time], np.float32),
            "encoder_hidden_states": random.normal(0, 1, (1, tokens, width)).astype(np.float32),
        }

    def calibration() -> Iterator[Arrays]:
        times = np.linspace(999, 50, _CALIBRATION_INPUTS)
        return (example(16, 16, 100 + place, float(time)) for place, time in enumerate(times))

    return ComponentSource(
        name="denoiser",
        module=lambda: StableDiffusionDenoiser(config),
        inputs=(
            TensorSpec(name="hidden_states", dtype="float32", shape=(1, config["in_channels"], *size)),
            TensorSpec(name="timestep", dtype="float32", shape=(1,)),
            TensorSpec(name="encoder_hidden_states", dtype="float32", shape=(1, tokens, width)),
        ),
        outputs=(TensorSpec(name="prediction", dtype="float32", shape=(1, channels, *size)),),
        examples=tuple(example(*sizes, seed=seed) for seed, sizes in enumerate(_EXAMPLES)),
        dimensions={symbol: (4, largest) for symbol in size},
        working=lambda width, height: {"latent_height": height // factor, "latent_width": width // factor},
        calibration=calibration,
        exclude=SENSITIVE,
        even_rows=EVEN_ROWS,
        weights=renamed(weights, lambda name: f"model.{name}"),
    )


def _settings(folder: PipelineFolder) -> dict[str, Any]:
    scheduler = _scheduler(folder.config("scheduler"))
    return {
        "pipeline": folder.pipeline,
        "scheduler": scheduler,
        "scheduler_class": SCHEDULER_CLASS,
        "steps": STEPS,
        "guidance": dict(GUIDANCE),
        "size": {
            "multiple": compression(folder.config("vae")), "largest": LARGEST_PIXELS, "area": AREA, "enlarges": False,
        },
        "latents": latent_settings(folder.config("vae"), folder.weights("vae")),
        "text": {
            "negative": "",
            **token_settings(folder.folder("tokenizer"), folder.config("text_encoder")["max_position_embeddings"]),
        },
    }


def _scheduler(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that count; raises ConversionError for a scheduler that the runtime doesn't have."""
    scheduler = {**_SCHEDULER, **{name: value for name, value in config.items() if not name.startswith("_")}}
    kind = config.get("_class_name", SCHEDULER_CLASS)
    if (kind, scheduler["prediction_type"]) != (SCHEDULER_CLASS, "epsilon"):
        raise ConversionError(
            "the checkpoint's scheduler can't be run", got=f"{kind} for {scheduler['prediction_type']}",
            allowed=f"{SCHEDULER_CLASS} for epsilon",
            hint="a model that predicts epsilon may be saved with that class: its from_config(pipe.scheduler.config)",
        )
    return scheduler


PIPELINE: Final = InstructPix2Pix()
