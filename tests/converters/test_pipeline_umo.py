"""UMO as it is captured: diffusers' transformer with the low-rank weights added by hand, and UNO's positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny.running import Running, difference, opened
from tiny.umo import add, product, uno_positions, write_loras

from converters.folder import PipelineFolder
from converters.pipelines.umo import PIPELINE
from edge_runtime.canonical_json import plain
from edge_runtime.errors import ConversionError

pytestmark = pytest.mark.slow
FAMILY = "umo"
MOST = 1e-4


@pytest.fixture(scope="module")
def loras(tmp_path_factory) -> tuple[Path, Path]:
    return write_loras(tmp_path_factory.mktemp("loras"))


def component(model, name: str):
    return next(part for part in model.components if part.name == name)


def test_denoiser_predicts_as_the_transformer_with_both_files_added(checkpoint, loras, tmp_path):
    from diffusers import FluxTransformer2DModel

    model = opened(PIPELINE, checkpoint, *loras)
    denoiser = Running(component(model, "denoiser"), tmp_path)
    transformer = FluxTransformer2DModel.from_pretrained(checkpoint / "transformer")
    untouched = {name: tensor.clone() for name, tensor in transformer.state_dict().items()}
    add(transformer, {**load_file(loras[0]), **load_file(loras[1])})
    assert any(not torch.equal(tensor, untouched[name]) for name, tensor in transformer.state_dict().items())
    random = np.random.default_rng(5)
    for target, references, text_tokens in (((4, 6), [(5, 4)], 20), ((5, 5), [(4, 3), (3, 6)], 31)):
        positions = uno_positions(target, references)
        cos, sin = rotary_tables(np.concatenate([np.zeros((text_tokens, 3)), positions]), **model.settings["rotary"])
        inputs = {
            "hidden_states": random.normal(size=(1, len(positions), 32)).astype(np.float32),
            "encoder_hidden_states": random.normal(size=(1, text_tokens, 64)).astype(np.float32),
            "pooled": random.normal(size=(1, 64)).astype(np.float32),
            "timestep": np.array([0.8], np.float32),
            "guidance": np.array([4.0], np.float32),
        }
        output = denoiser(**inputs, rotary_cos=cos, rotary_sin=sin)["prediction"]
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        with torch.inference_mode():
            expected = transformer(
                pooled_projections=tensors.pop("pooled"),
                txt_ids=torch.zeros(text_tokens, 3),
                img_ids=torch.from_numpy(positions),
                return_dict=False,
                **tensors,
            )[0]
        assert difference(output, expected.numpy()) < MOST


def test_text_and_autoencoder_are_those_of_the_checkpoint(checkpoint, loras):
    from tiny.flux_kontext import VAE

    model = opened(PIPELINE, checkpoint, *loras)
    assert [part.name for part in model.components] == [
        "text_encoder", "text_encoder_2", "denoiser", "vae_encoder", "vae_decoder",
    ]  # fmt: skip
    stored = load_file(checkpoint / "vae" / "diffusion_pytorch_model.safetensors")
    read = component(model, "vae_decoder").weights.read("model.decoder.conv_in.weight")
    assert np.array_equal(read, stored["decoder.conv_in.weight"].numpy())
    assert model.settings["latents"]["channels"] == VAE["latent_channels"]


def test_the_later_file_replaces_and_any_other_lora_adds(checkpoint, loras, tmp_path):
    module = "transformer_blocks.0.attn.to_q"
    style = tmp_path / "style.safetensors"
    up, down = torch.randn(64, 2), torch.randn(2, 64)
    save_file({f"transformer.{module}.lora_A.weight": down, f"transformer.{module}.lora_B.weight": up}, style)
    names = ("transformer_blocks.0.attn.to_q.weight", "transformer_blocks.1.attn.to_q.weight")
    plain_weights = PipelineFolder.open(str(checkpoint)).weights("transformer")
    model = opened(PIPELINE, checkpoint, *loras, style)
    first, last = (
        component(model, "denoiser").weights.read(f"model.{name}") - plain_weights.read(name) for name in names
    )
    uno, umo = load_file(loras[0]), load_file(loras[1])
    assert np.abs(first - (product(umo, "double_blocks.0.processor.qkv_lora1")[:64] + up @ down).numpy()).max() < 1e-5
    assert np.abs(last - product(uno, "double_blocks.1.processor.qkv_lora1")[:64].numpy()).max() < 1e-5
    assert model.provenance["loras"] == "dit_lora.safetensors, UMO_UNO.safetensors, style.safetensors"


def test_what_is_settled(checkpoint, loras):
    settings = plain(opened(PIPELINE, checkpoint, *loras).settings)
    assert settings["steps"] == 25
    assert settings["guidance"] == {"embedded": 4.0}
    assert settings["references"]["diagonal"] is True
    assert settings["schedule"]["latents_per_token"] == 256


@pytest.mark.parametrize("given", [(), ("style",)])
def test_flux_without_weights_for_references_is_refused(checkpoint, tmp_path, given):
    style = tmp_path / "style.safetensors"
    name = "transformer.transformer_blocks.0.attn.to_q"
    save_file({f"{name}.lora_A.weight": torch.ones(2, 64), f"{name}.lora_B.weight": torch.ones(64, 2)}, style)
    with pytest.raises(ConversionError, match=r"makes pictures from text.*dit_lora\.safetensors.*UMO_UNO\.safetensors"):
        opened(PIPELINE, checkpoint, *(style for _ in given))


def rotary_tables(positions: np.ndarray, widths: list[int], theta: float) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines and sines, float32 (tokens, channels); the angle of every pair of channels stands twice."""
    angles = np.concatenate(
        [
            np.outer(positions[:, axis], 1 / theta ** (np.arange(0, width, 2) / width))
            for axis, width in enumerate(widths)
        ],
        axis=1,
    ).repeat(2, axis=1)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
