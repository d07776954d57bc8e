"""The autoencoder of Qwen-Image for one picture, as plain two-dimensional graphs.

It is made for videos. One picture only ever meets the last slice in time of its causal convolutions, as what lies
before it is padding, zeros; so that slice is all that is read of their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from converters.autoencoders import cropped, plausible_latents
from converters.calibration import CalibrationData
from converters.shards import renamed
from converters.source import Arrays, ComponentSource, Rows, Weights
from edge_runtime.tensors import TensorSpec

COMPRESSION: Final = 8
"""Pixels per latent along each side."""

LARGEST_PIXELS: Final = 4096

_EXAMPLE_PIXELS: Final = ((64, 96), (96, 64))
_CALIBRATION_PIXELS: Final = (128, 128)
_CALIBRATION_INPUTS: Final = 8
_SENSITIVE: Final = ("*conv_in.weight", "*conv_out.weight", "*quant_conv.weight")


class StillEncoder(nn.Module):
    """Picture -> the posterior's mode, raw; state-dict names are the checkpoint's below `model.`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = _still(config)
        self.channels = config["z_dim"]
        del self.model.decoder, self.model.post_quant_conv

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return float32 (1, channels, height / 8, width / 8); `image` has range -1..1."""
        encoded = self.model.quant_conv(self.model.encoder(image))
        latents: torch.Tensor = encoded[:, : self.channels]  # behind the means come the variances
        return latents


class StillDecoder(nn.Module):
    """Raw latents -> picture; state-dict names are the checkpoint's below `model.`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = _still(config)
        del self.model.encoder, self.model.quant_conv

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Return float32 (1, 3, 8 * height, 8 * width), range about -1..1."""
        image: torch.Tensor = self.model.decoder(self.model.post_quant_conv(latents))
        return image


class StillWeights:
    """The weights of a video autoencoder for one picture: of a convolution in time, the slice that meets it."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the checkpoint's files."""
        return self._weights.names

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without its axis of time; raises ConversionError for an unknown name."""
        shape = self._weights.shape(name)
        return shape[:2] + shape[3:] if len(shape) == 5 else shape[:3] if name.endswith(".gamma") else shape

    def read(self, name: str) -> NDArray[Any]:
        """Return a tensor without its axis of time, which the caller owns."""
        array = self._weights.read(name)
        if array.ndim == 5:
            array = array[:, :, -1]
        elif name.endswith(".gamma"):
            array = array.reshape(array.shape[:3])
        return np.ascontiguousarray(array)

    def rows(self, name: str) -> Rows:
        """Return a reader of a tensor's rows."""
        whole = self.read(name)
        return lambda start, stop: whole[start:stop].copy()


def still_autoencoder(
    config: Mapping[str, Any], weights: Weights, data: CalibrationData
) -> tuple[ComponentSource, ComponentSource]:
    """Describe `vae_encoder` and `vae_decoder` for one picture."""
    still = StillWeights(weights)
    image = TensorSpec(name="image", dtype="float32", shape=(1, config.get("input_channels", 3), "height", "width"))
    latents = TensorSpec(name="latents", dtype="float32", shape=(1, config["z_dim"], "latent_height", "latent_width"))
    std, mean = (np.array(config[name])[:, None, None] for name in ("latents_std", "latents_mean"))

    def seeded(pixels: tuple[int, int], seed: int) -> Arrays:
        shape = (config["z_dim"], pixels[0] // COMPRESSION, pixels[1] // COMPRESSION)
        return {"latents": (plausible_latents(shape, seed) * std + mean).astype(np.float32)}

    def encoder_inputs() -> Iterator[Arrays]:
        photos = data.calibration
        step = max(1, len(photos) // _CALIBRATION_INPUTS)  # neighbours are often views of one photograph
        return ({"image": cropped(photo, _CALIBRATION_PIXELS)} for photo in photos[::step][:_CALIBRATION_INPUTS])

    def half(*parts: str) -> Weights:
        def kept(name: str) -> str | None:
            return f"model.{name}" if name.startswith(parts) and ".time_conv." not in name else None

        return renamed(still, kept)

    encoder = ComponentSource(
        name="vae_encoder",
        module=lambda: StillEncoder(config),
        inputs=(image,),
        outputs=(latents,),
        examples=tuple(
            {"image": cropped(photo, pixels)}
            for photo, pixels in zip((data.comparison[0], data.comparison[-1]), _EXAMPLE_PIXELS, strict=True)
        ),
        dimensions={"height": (COMPRESSION, LARGEST_PIXELS), "width": (COMPRESSION, LARGEST_PIXELS)},
        working=lambda width, height: {"height": height, "width": width},
        calibration=encoder_inputs,
        exclude=_SENSITIVE,
        weights=half("encoder.", "quant_conv."),
    )
    decoder = ComponentSource(
        name="vae_decoder",
        module=lambda: StillDecoder(config),
        inputs=(latents,),
        outputs=(image,),
        examples=tuple(seeded(pixels, seed) for seed, pixels in enumerate(_EXAMPLE_PIXELS)),
        dimensions={symbol: (1, LARGEST_PIXELS // COMPRESSION) for symbol in ("latent_height", "latent_width")},
        working=lambda width, height: {"latent_height": height // COMPRESSION, "latent_width": width // COMPRESSION},
        calibration=lambda: (seeded(_CALIBRATION_PIXELS, 100 + seed) for seed in range(_CALIBRATION_INPUTS)),
        exclude=_SENSITIVE,
        weights=half("decoder.", "post_quant_conv."),
    )
    return encoder, decoder


class _ChannelNorm(nn.Module):
    """Divides every pixel by the length of its channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, 1, 1))
        self.scale = channels**0.5

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        # a product with ones: in ONNX Runtime it takes a third of the time of a sum over channels
        ones = torch.ones(1, hidden.shape[1], device=hidden.device)
        lengths = torch.matmul(ones, (hidden * hidden).flatten(2)).unflatten(2, hidden.shape[2:]).sqrt()
        normed: torch.Tensor = hidden / lengths.clamp(min=1e-12) * (self.gamma * self.scale)
        return normed


class _Attention(nn.Module):
    """One head over all pixels."""

    def __init__(self, norm: nn.Module, to_qkv: nn.Module, proj: nn.Module) -> None:
        super().__init__()
        self.norm, self.to_qkv, self.proj = norm, to_qkv, proj

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        query, key, value = self.to_qkv(self.norm(hidden)).flatten(2).chunk(3, dim=1)
        scores = torch.matmul(query.transpose(1, 2) * query.shape[1] ** -0.5, key)
        mixed = torch.matmul(scores.softmax(-1), value.transpose(1, 2)).transpose(1, 2)
        result: torch.Tensor = hidden + self.proj(mixed.unflatten(2, hidden.shape[2:]))
        return result


class _Resample(nn.Module):
    """Halves or doubles a picture; between frames there is nothing to do."""

    def __init__(self, resample: nn.Sequential) -> None:
        super().__init__()
        first, *rest = resample
        if isinstance(first, nn.Upsample):
            first = nn.Upsample(scale_factor=2.0, mode="nearest")  # at a factor of 2 the same as nearest-exact
        self.resample = nn.Sequential(first, *rest)

    def forward(self, hidden: torch.Tensor, *_: object) -> torch.Tensor:
        result: torch.Tensor = self.resample(hidden)
        return result


def _still(config: Mapping[str, Any]) -> Any:
    """Build AutoencoderKLQwenImage with every part that knows of time replaced, under the same name."""
    from diffusers import AutoencoderKLQwenImage

    model = AutoencoderKLQwenImage.from_config(dict(config))
    _replace(model)
    return model


def _replace(module: nn.Module) -> None:
    from diffusers.models.autoencoders import autoencoder_kl_qwenimage as video

    for name, part in list(module.named_children()):
        _replace(part)  # from the inside out
        if isinstance(part, video.QwenImageCausalConv3d):
            rows, columns = part._padding[2], part._padding[0]  # of every side, the last axis first
            new: nn.Module = nn.Conv2d(
                part.in_channels, part.out_channels, part.kernel_size[1:], part.stride[1:], (rows, columns)
            )
        elif isinstance(part, video.QwenImageRMS_norm):
            new = _ChannelNorm(part.gamma.shape[0])
        elif isinstance(part, video.QwenImageAttentionBlock):
            new = _Attention(part.norm, part.to_qkv, part.proj)
        elif isinstance(part, video.QwenImageResample):
            new = _Resample(part.resample)
        else:
            continue
        setattr(module, name, new)
