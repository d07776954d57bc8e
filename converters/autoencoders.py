"""Autoencoders that several families share, wrapped for capture: AutoencoderKL, AutoencoderKLFlux2, AutoencoderTiny.

Latents are raw here: scaling, patches and statistics are applied outside the graphs, from the manifest's settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from converters.calibration import CalibrationData, Photo
from converters.shards import renamed
from converters.source import Arrays, ComponentSource, Weights
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec

CLASSES: Final = ("AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderTiny")
LARGEST_PIXELS: Final = 4096

_EXAMPLE_PIXELS: Final = ((64, 96), (96, 64))
_CALIBRATION_PIXELS: Final = (128, 128)
_CALIBRATION_INPUTS: Final = 8
# attention of autoencoders that were saved before its layers were renamed
_OLD_NAMES: Final = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
# the first and the last layers of AutoencoderTiny have numbers for names; what is small stays float
_SENSITIVE: Final = ("*conv_in.weight", "*conv_out.weight", "*quant_conv.weight")


class Encoder(nn.Module):
    """Picture -> the posterior's mode, raw; state-dict names are the checkpoint's below `model.`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = _built(config)
        self.channels = config["latent_channels"]
        del self.model.decoder

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return float32 (1, channels, height / compression, width / compression); `image` has range -1..1."""
        encoded = self.model.encoder(image)
        quantiser = getattr(self.model, "quant_conv", None)
        encoded = encoded if quantiser is None else quantiser(encoded)
        latents: torch.Tensor = encoded[:, : self.channels]  # behind the means come the variances
        return latents


class Decoder(nn.Module):
    """Raw latents -> picture; state-dict names are the checkpoint's below `model.`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = _built(config)
        del self.model.encoder

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Return float32 (1, 3, compression * height, compression * width), range about -1..1."""
        quantiser = getattr(self.model, "post_quant_conv", None)
        image: torch.Tensor = self.model.decoder(latents if quantiser is None else quantiser(latents))
        return image


def autoencoder(
    config: Mapping[str, Any], weights: Weights, data: CalibrationData
) -> tuple[ComponentSource, ComponentSource]:
    """Describe `vae_encoder` and `vae_decoder` for any of CLASSES; raises ConversionError for another class."""
    if config.get("_class_name") not in CLASSES:
        raise ConversionError("the autoencoder is not known", got=config.get("_class_name"), allowed=", ".join(CLASSES))
    image = TensorSpec(name="image", dtype="float32", shape=(1, 3, "height", "width"))
    latents = TensorSpec(
        name="latents", dtype="float32", shape=(1, config["latent_channels"], "latent_height", "latent_width")
    )
    factor = compression(config)
    spread, centre = _statistics(config, weights)

    def seeded(pixels: tuple[int, int], seed: int) -> Arrays:
        shape = (config["latent_channels"], pixels[0] // factor, pixels[1] // factor)
        return {"latents": (plausible_latents(shape, seed) * spread + centre).astype(np.float32)}

    def encoder_inputs() -> Iterator[Arrays]:
        photos = data.calibration
        step = max(1, len(photos) // _CALIBRATION_INPUTS)  # neighbours are often views of one photograph
        return ({"image": cropped(photo, _CALIBRATION_PIXELS)} for photo in photos[::step][:_CALIBRATION_INPUTS])

    def decoder_inputs() -> Iterator[Arrays]:
        return (seeded(_CALIBRATION_PIXELS, 100 + seed) for seed in range(_CALIBRATION_INPUTS))

    def pinned(source: ComponentSource, width: int, height: int) -> ComponentSource:
        sizes = {"height": height, "width": width, "latent_height": height // factor, "latent_width": width // factor}
        pixels = (height, width)
        inputs: dict[str, list[Arrays]] = {
            encoder.name: [{"image": cropped(photo, pixels)} for photo in (data.comparison[0], data.comparison[-1])],
            decoder.name: [seeded(pixels, seed) for seed in range(len(_EXAMPLE_PIXELS))],
        }
        return source.at_sizes(sizes, inputs[source.name])

    encoder = ComponentSource(
        name="vae_encoder",
        module=lambda: Encoder(config),
        inputs=(image,),
        outputs=(latents,),
        examples=tuple(
            {"image": cropped(photo, pixels)}
            for photo, pixels in zip((data.comparison[0], data.comparison[-1]), _EXAMPLE_PIXELS, strict=True)
        ),
        dimensions={"height": (factor, LARGEST_PIXELS), "width": (factor, LARGEST_PIXELS)},
        working=lambda width, height: {"height": height, "width": width},
        calibration=encoder_inputs,
        exclude=(*_SENSITIVE, *_ends(config, "encoder")),
        weights=_half(weights, ("encoder.", "quant_conv.")),
        pinned=lambda width, height: pinned(encoder, width, height),
    )
    decoder = ComponentSource(
        name="vae_decoder",
        module=lambda: Decoder(config),
        inputs=(latents,),
        outputs=(image,),
        examples=tuple(seeded(pixels, seed) for seed, pixels in enumerate(_EXAMPLE_PIXELS)),
        dimensions={symbol: (1, LARGEST_PIXELS // factor) for symbol in ("latent_height", "latent_width")},
        working=lambda width, height: {"latent_height": height // factor, "latent_width": width // factor},
        calibration=decoder_inputs,
        exclude=(*_SENSITIVE, *_ends(config, "decoder")),
        weights=_half(weights, ("decoder.", "post_quant_conv.")),
        pinned=lambda width, height: pinned(decoder, width, height),
    )
    return encoder, decoder


def latent_settings(config: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    """Return the manifest's `latents`.

    `channels`; `compression`, pixels per latent; then how the denoiser's latents come out of raw ones, either `scale`
    and `shift`, `(raw - shift) * scale`, or `mean` and `std` of every channel of a patch of 2 x 2 (FLUX.2).
    """
    common = {"channels": config["latent_channels"], "compression": compression(config)}
    if config["_class_name"] == "AutoencoderKLFlux2":
        mean, std = _patch_statistics(config, weights)
        return {**common, "mean": mean.tolist(), "std": std.tolist()}
    scale, shift = _scaling(config)
    return {**common, "scale": scale, "shift": shift}


def compression(config: Mapping[str, Any]) -> int:
    """Return how many pixels one latent stands for along each side."""
    stages: Sequence[int] = config.get("block_out_channels") or config["encoder_block_out_channels"]
    return int(2 ** (len(stages) - 1))


def cropped(photo: Photo, pixels: tuple[int, int]) -> NDArray[np.float32]:
    """Return the middle of a photograph, float32 (1, 3, height, width), range -1..1; a small one's edge is repeated."""
    height, width = pixels
    lacking = [max(0, wanted - had) for wanted, had in zip(pixels, photo.shape[:2], strict=True)]
    padded = np.pad(photo, ((0, lacking[0]), (0, lacking[1]), (0, 0)), mode="edge")
    top, left = (padded.shape[0] - height) // 2, (padded.shape[1] - width) // 2
    crop = padded[top : top + height, left : left + width].astype(np.float32)
    return np.ascontiguousarray((crop / 127.5 - 1.0).transpose(2, 0, 1)[None])


def plausible_latents(shape: tuple[int, int, int], seed: int) -> NDArray[np.float32]:
    """Return float32 (1, channels, height, width) of unit variance: noise, half of it in patches, as pictures have."""
    channels, height, width = shape
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((channels, -(-height // 4), -(-width // 4)))
    patches = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
    mixed = 0.8 * patches + 0.6 * rng.standard_normal(shape)
    return mixed.astype(np.float32)[None]


def _built(config: Mapping[str, Any]) -> Any:
    import diffusers

    return getattr(diffusers, config["_class_name"]).from_config(dict(config))


def _statistics(config: Mapping[str, Any], weights: Weights) -> tuple[Any, Any]:
    """Return spread and centre of raw latents, as numbers or one for each channel, (channels, 1, 1)."""
    if config["_class_name"] != "AutoencoderKLFlux2":
        scale, shift = _scaling(config)
        return 1.0 / scale, shift
    mean, std = (part.reshape(config["latent_channels"], -1).mean(1) for part in _patch_statistics(config, weights))
    return std[:, None, None], mean[:, None, None]


def _patch_statistics(config: Mapping[str, Any], weights: Weights) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of every channel of a patch, float32 (4 * channels,)."""
    variance = weights.read("bn.running_var") + np.float32(config.get("batch_norm_eps", 1e-4))
    return weights.read("bn.running_mean"), np.sqrt(variance)


def _scaling(config: Mapping[str, Any]) -> tuple[float, float]:
    default = 1.0 if config["_class_name"] == "AutoencoderTiny" else 0.18215
    return float(config.get("scaling_factor") or default), float(config.get("shift_factor") or 0.0)


def _ends(config: Mapping[str, Any], half: str) -> tuple[str, ...]:
    """Return the first and the last layer of AutoencoderTiny, which are known by their place alone."""
    if config["_class_name"] != "AutoencoderTiny":
        return ()
    blocks = config[f"num_{half}_blocks"]
    # an encoder has one layer before every group of blocks and one at the end; a decoder a layer and its activation at
    # the start, and behind every group an upsampling, but for the last, and a layer
    last = len(blocks) + sum(blocks) if half == "encoder" else 2 + sum(blocks) + 2 * len(blocks) - 2
    return (f"model.{half}.layers.0.weight", f"model.{half}.layers.{last}.weight")


def _half(weights: Weights, prefixes: tuple[str, ...]) -> Weights:
    def rename(name: str) -> str | None:
        if not name.startswith(prefixes):
            return None
        if ".attentions." in name:
            for old, new in _OLD_NAMES.items():
                name = name.replace(old, new)
        return f"model.{name}"

    return renamed(weights, rename)
