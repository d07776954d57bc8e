"""Text encoders and autoencoders that several families share: files of every age, settings, example inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import flux_kontext, instruct_pix2pix

from converters.autoencoders import autoencoder, cropped, latent_settings, plausible_latents
from converters.calibration import bundled_photographs
from converters.sinusoids import Sinusoids, timestep_frequencies
from converters.text_encoders import causal_bias, clip_text, open_tokenizer, qwen3_text, t5_text, token_settings
from edge_runtime.errors import ConversionError

KL = {**instruct_pix2pix.VAE, "_class_name": "AutoencoderKL"}


class Named:
    """Weights whose tensors hold nothing but zeros."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def shape(self, name: str) -> tuple[int, ...]:
        return (1,)

    def read(self, name: str) -> np.ndarray:
        return np.zeros(1, np.float32)

    def rows(self, name: str):
        return lambda start, stop: np.zeros(stop - start, np.float32)


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_clip_is_read_with_and_without_its_inner_module(prefix):
    weights = Named(f"{prefix}embeddings.position_ids", f"{prefix}final_layer_norm.bias")
    assert clip_text(flux_kontext.CLIP, weights).weights.names == ("model.final_layer_norm.bias",)


def test_t5_is_read_without_its_second_embedding_and_without_a_decoder():
    weights = Named("shared.weight", "encoder.embed_tokens.weight", "encoder.final_layer_norm.weight", "decoder.a")
    names = t5_text(flux_kontext.T5, weights).weights.names
    assert names == ("model.embed_tokens.weight", "model.final_layer_norm.weight")


@pytest.mark.parametrize(
    "rope", [{"rope_theta": 1e6}, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}]
)
def test_qwen_is_read_with_settings_of_either_age(rope):
    config = {"hidden_size": 32, "num_attention_heads": 2, "vocab_size": 9, **rope}
    component = qwen3_text(config, Named("model.embed_tokens.weight", "model.layers.3.a", "model.norm.weight"), (1, 3))
    assert component.weights.names == ("embed_tokens.weight",)
    assert component.examples[0]["rotary_cos"].shape == (96, 16)
    assert component.outputs[0].shape == (1, "tokens", 64)


@pytest.mark.parametrize("old", ["query", "key", "value", "proj_attn"])
def test_an_autoencoders_attention_may_have_its_old_names(old):
    new = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}[old]
    weights = Named(f"decoder.mid_block.attentions.0.{old}.weight", "encoder.conv_in.weight", "quant_conv.bias")
    encoder, decoder = autoencoder(KL, weights, bundled_photographs())
    assert encoder.weights.names == ("model.encoder.conv_in.weight", "model.quant_conv.bias")
    assert decoder.weights.names == (f"model.decoder.mid_block.attentions.0.{new}.weight",)


def test_an_autoencoder_of_another_class_is_refused():
    with pytest.raises(ConversionError, match="AutoencoderOobleck.*AutoencoderTiny"):
        autoencoder({**KL, "_class_name": "AutoencoderOobleck"}, Named(), bundled_photographs())


def test_latents_are_described_as_the_configuration_says():
    assert latent_settings(KL, Named()) == {"channels": 4, "compression": 8, "scale": 0.18215, "shift": 0.0}


def test_calibration_of_an_autoencoder_is_of_photographs_and_of_latents_as_wide_as_true_ones():
    encoder, decoder = autoencoder(KL, Named(), bundled_photographs())
    images = [entry["image"] for entry in encoder.calibration()]
    latents = np.concatenate([entry["latents"] for entry in decoder.calibration()])
    assert len(images) == len(latents) == 8
    assert len({image.tobytes() for image in images}) == 8
    assert min(image.min() for image in images) >= -1
    assert 0.7 < latents.std() * 0.18215 < 1.3


def test_a_small_photograph_fills_a_crop():
    photo = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert cropped(photo, (4, 4)).shape == (1, 3, 4, 4)
    assert cropped(photo, (2, 2))[0, :, 0, 0].tolist() == pytest.approx([-1, 1 / 127.5 - 1, 2 / 127.5 - 1])


def test_plausible_latents_are_the_same_every_time():
    assert np.array_equal(plausible_latents((4, 5, 7), 3), plausible_latents((4, 5, 7), 3))
    assert plausible_latents((4, 5, 7), 3).shape == (1, 4, 5, 7)


def test_causal_bias_hides_what_comes_later_and_padding():
    looks = causal_bias(4, 3)[0, 0] == 0
    assert looks.tolist() == [
        [True, False, False, False], [True, True, False, False], [True, True, True, False], [True, True, True, False],
    ]  # fmt: skip


def test_sinusoids_are_the_librarys_to_the_last_bit():
    from diffusers.models.embeddings import Timesteps

    module = Sinusoids(64)
    module.frequencies.copy_(torch.from_numpy(timestep_frequencies(64)))
    times = torch.tensor([0.0, 0.3, 999.0, 4000.0])
    assert torch.equal(module(times), Timesteps(64, flip_sin_to_cos=True, downscale_freq_shift=0)(times))


def test_a_tokenizer_tells_its_padding(tmp_path):
    flux_kontext.save_t5_tokenizer(tmp_path / "t5")
    assert token_settings(tmp_path / "t5", 512) == {"tokens": 512, "padding": 0}
    with pytest.raises(ConversionError, match="tokenizer in nothing can't be read"):
        open_tokenizer(tmp_path / "nothing")
