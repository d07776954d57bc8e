"""FLUX.2 klein as it is captured against diffusers' own modules, called the way their pipeline does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny.flux2_klein import TEXT
from tiny.running import difference, opened
from tokenizers import Tokenizer

from converters.pipelines.flux2_klein import PIPELINE
from edge_runtime.canonical_json import plain
from edge_runtime.errors import ConversionError

pytestmark = pytest.mark.slow
FAMILY = "flux2_klein"
MOST = 1e-4
PROMPT = "make it snowy, and don't touch the {house}"


@pytest.fixture(scope="module")
def original(checkpoint):
    from diffusers import Flux2KleinPipeline

    return Flux2KleinPipeline.from_pretrained(checkpoint)


@pytest.mark.parametrize("prompt", [PROMPT, "long " * 200])
def test_qwen_reads_as_the_original(model, graphs, original, prompt):
    settings = model.settings["text"]
    text = settings["template"].replace("{}", prompt)
    tokenizer = Tokenizer.from_str(model.files["tokenizer"].decode())
    tokenizer.enable_truncation(settings["tokens"])
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    output = graphs["text_encoder"](**text_inputs(ids, settings))
    with torch.inference_mode():
        expected, _ = original.encode_prompt(prompt)
    assert difference(output["embeddings"], expected.numpy()) < MOST


def test_examples_of_text_as_the_original(model, graphs, original):
    for example, output in graphs["text_encoder"].examples():
        ids = torch.from_numpy(example["input_ids"])
        tokens = ids.shape[1]
        mask = torch.from_numpy((example["attention_bias"][0, 0, -1] == 0).astype(np.int64))[None]
        assert mask.sum() == tokens - tokens // 4
        with torch.inference_mode():
            states = original.text_encoder(ids, attention_mask=mask, output_hidden_states=True).hidden_states
        expected = torch.cat([states[layer] for layer in model.settings["text"]["layers"]], dim=-1)
        assert difference(output["embeddings"], expected.numpy()) < MOST


@pytest.mark.parametrize(
    ("place", "target", "reference", "text_tokens"), [(0, (4, 6), (5, 4), 28), (1, (6, 5), (4, 8), 36)]
)
def test_denoiser_predicts_as_the_original(model, graphs, original, place, target, reference, text_tokens):
    example, output = graphs["denoiser"].examples()[place]
    positions = token_positions(text_tokens, target, [reference], model.settings["references"])
    cos, sin = rotary_tables(positions, **model.settings["rotary"])
    assert np.array_equal(example["rotary_cos"], cos)
    assert np.array_equal(example["rotary_sin"], sin)
    tensors = {name: torch.from_numpy(array) for name, array in example.items()}
    channels = tensors["hidden_states"].shape[-1]
    ids = [
        original._prepare_latent_ids(torch.zeros(1, channels, *target)),
        original._prepare_image_ids([torch.zeros(1, channels, *reference)]),
    ]
    with torch.inference_mode():
        expected = original.transformer(
            hidden_states=tensors["hidden_states"],
            timestep=tensors["timestep"],
            guidance=None,
            encoder_hidden_states=tensors["encoder_hidden_states"],
            txt_ids=original._prepare_text_ids(tensors["encoder_hidden_states"]),
            img_ids=torch.cat(ids, dim=1),
            return_dict=False,
        )[0]
    assert difference(output["prediction"], expected.numpy()) < MOST


def test_autoencoder_as_the_original(graphs, original):
    with torch.inference_mode():
        for example, output in graphs["vae_encoder"].examples():
            expected = original.vae.encode(torch.from_numpy(example["image"])).latent_dist.mode()
            assert difference(output["latents"], expected.numpy()) < MOST
        for example, output in graphs["vae_decoder"].examples():
            expected = original.vae.decode(torch.from_numpy(example["latents"])).sample
            assert difference(output["image"], expected.numpy()) < MOST


def test_latents_are_put_in_patches_and_normalised_as_the_original(model, graphs, original):
    example, output = graphs["vae_encoder"].examples()[0]
    latents, settings = output["latents"], model.settings["latents"]
    _, channels, height, width = latents.shape
    patch = settings["patch"]
    patches = latents.reshape(channels, height // patch, patch, width // patch, patch).transpose(0, 2, 4, 1, 3)
    patches = patches.reshape(channels * patch**2, height // patch, width // patch)
    mean, std = (np.array(settings[name], np.float32)[:, None, None] for name in ("mean", "std"))
    with torch.inference_mode():
        expected = original._encode_vae_image(torch.from_numpy(example["image"]), None)
    assert difference((patches - mean)[None] / std, expected.numpy()) < MOST


def test_what_is_settled(model, original):
    settings = plain(model.settings)
    assert [component.name for component in model.components] == [
        "text_encoder", "denoiser", "vae_encoder", "vae_decoder",
    ]  # fmt: skip
    assert settings["steps"] == 4
    assert settings["guidance"] == {}
    assert settings["text"]["template"] == (
        "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert settings["text"]["padding"] == original.tokenizer.pad_token_id
    assert settings["text"]["rotary"] == {"width": TEXT["head_dim"], "theta": 1e6}
    assert settings["guidance_embedded"] is False
    assert settings["size"] == {"multiple": 16, "area": 1024 * 1024, "enlarges": False}


def test_layers_after_the_last_hidden_state_are_left_out(model):
    text = model.components[0].weights.names
    assert "layers.26.mlp.up_proj.weight" in text
    assert not [name for name in text if name.startswith(("layers.27.", "norm.", "lm_head."))]


def test_a_model_that_is_not_distilled_takes_more_steps(checkpoint, tmp_path):
    base = copied(checkpoint, tmp_path / "base", is_distilled=False)
    settings = opened(PIPELINE, base).settings
    assert settings["steps"] == 50
    assert settings["guidance"] == {"text": 4.0}


def test_a_lora_is_added_and_named(checkpoint, model, tmp_path):
    lora = tmp_path / "snow.safetensors"
    module = "single_transformer_blocks.1.attn.to_out"
    up, down = torch.randn(64, 4), torch.randn(4, 64 + 192)
    save_file({f"transformer.{module}.lora_A.weight": down, f"transformer.{module}.lora_B.weight": up}, lora)
    fused = opened(PIPELINE, checkpoint, lora)
    name = f"model.{module}.weight"
    before, after = (some.components[1].weights.read(name) for some in (model, fused))
    assert np.abs(after - before - (up @ down).numpy()).max() < 1e-5
    assert fused.provenance["loras"] == "snow.safetensors"


def test_a_text_encoder_that_is_too_shallow_is_refused(checkpoint, tmp_path):
    shallow = copied(checkpoint, tmp_path / "shallow")
    path = shallow / "text_encoder" / "config.json"
    config = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps({**config, "num_hidden_layers": 20}))
    with pytest.raises(ConversionError, match=r"too few layers.*20.*27"):
        opened(PIPELINE, shallow)


def copied(checkpoint: Path, folder: Path, **members: object) -> Path:
    """Return a folder of links to a checkpoint's files, with other members in its index."""
    for file in checkpoint.rglob("*.*"):
        link = folder / file.relative_to(checkpoint)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").unlink()
    (folder / "model_index.json").write_text(json.dumps({**index, **members}))
    return folder


def text_inputs(ids: list[int], settings: dict) -> dict[str, np.ndarray]:
    """Fill up to the full length; padding is not looked at, and nothing looks ahead."""
    tokens = settings["tokens"]
    place = np.arange(tokens)
    looks = (place[None, :] <= place[:, None]) & (place < len(ids))[None, :]
    cos, sin = text_rotary(tokens, **settings["rotary"])
    return {
        "input_ids": np.array([ids + [settings["padding"]] * (tokens - len(ids))]),
        "attention_bias": np.where(looks, 0, -1e9).astype(np.float32)[None, None],
        "rotary_cos": cos,
        "rotary_sin": sin,
    }


def text_rotary(tokens: int, width: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines and sines, float32 (tokens, width), where channel i turns with channel i + width / 2."""
    frequencies = 1 / np.float32(theta) ** (np.arange(0, width, 2, dtype=np.float32) / np.float32(width))
    angles = np.outer(np.arange(tokens, dtype=np.float32), np.tile(frequencies, 2))
    return np.cos(angles), np.sin(angles)


def token_positions(
    text_tokens: int, target: tuple[int, int], references: list[tuple[int, int]], settings: dict
) -> np.ndarray:
    """Return (tokens, 4): text counted on the last axis, then the target, then references told apart on the first."""
    text = np.zeros((text_tokens, 4))
    text[:, 3] = np.arange(text_tokens)
    firsts = [0, *(settings["first"] + settings["step"] * place for place in range(len(references)))]
    pictures = []
    for first, (rows, columns) in zip(firsts, [target, *references], strict=True):
        axes = np.broadcast_arrays(first, *np.indices((rows, columns)), 0)
        pictures.append(np.stack(axes, axis=-1).reshape(-1, 4))
    return np.concatenate([text, *pictures])


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
