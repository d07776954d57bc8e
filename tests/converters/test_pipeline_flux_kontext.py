"""FLUX.1 Kontext as it is captured against diffusers' own modules, called the way their pipeline does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny.running import difference
from tokenizers import Tokenizer

from edge_runtime.canonical_json import plain

pytestmark = pytest.mark.slow
FAMILY = "flux_kontext"
MOST = 1e-4
PROMPT = "Make it SNOWY, please"


@pytest.fixture(scope="module")
def original(checkpoint):
    from diffusers import FluxKontextPipeline

    return FluxKontextPipeline.from_pretrained(checkpoint)


@pytest.mark.parametrize("prompt", [PROMPT, "a" * 300])
def test_clip_reads_as_the_original(model, graphs, original, prompt):
    tokens, padding = (model.settings["text"]["clip"][name] for name in ("tokens", "padding"))
    ids = padded_ids(model.files["tokenizer"], prompt, tokens, padding)
    bias = np.triu(np.full((1, 1, tokens, tokens), -1e4, np.float32), k=1)
    output = graphs["text_encoder"](input_ids=ids, attention_bias=bias)
    with torch.inference_mode():
        pooled = original._get_clip_prompt_embeds(prompt)
        embeddings = original.text_encoder(torch.from_numpy(ids)).last_hidden_state
    assert difference(output["pooled"], pooled.numpy()) < MOST
    assert difference(output["embeddings"], embeddings.numpy()) < MOST


def test_t5_reads_as_the_original(model, graphs, original):
    settings = model.settings["text"]["t5"]
    ids = padded_ids(model.files["tokenizer_2"], PROMPT, **settings)
    output = graphs["text_encoder_2"](input_ids=ids)["embeddings"]
    with torch.inference_mode():
        expected = original._get_t5_prompt_embeds(PROMPT)
    assert difference(output, expected.numpy()) < MOST


def test_examples_of_text_as_the_original(graphs, original):
    for example, output in graphs["text_encoder"].examples():
        with torch.inference_mode():
            expected = original.text_encoder(torch.from_numpy(example["input_ids"]))
        assert difference(output["embeddings"], expected.last_hidden_state.numpy()) < MOST
        assert difference(output["pooled"], expected.pooler_output.numpy()) < MOST
    for example, output in graphs["text_encoder_2"].examples():
        with torch.inference_mode():
            expected = original.text_encoder_2(torch.from_numpy(example["input_ids"]))[0]
        assert difference(output["embeddings"], expected.numpy()) < MOST


@pytest.mark.parametrize(
    ("place", "target", "reference", "text_tokens"), [(0, (4, 6), (5, 4), 28), (1, (6, 5), (4, 8), 36)]
)
def test_denoiser_predicts_as_the_original(model, graphs, original, place, target, reference, text_tokens):
    example, output = graphs["denoiser"].examples()[place]
    positions, rotary = picture_positions([(0, *target), (1, *reference)]), model.settings["rotary"]
    cos, sin = rotary_tables(np.concatenate([np.zeros((text_tokens, 3)), positions]), **rotary)
    assert np.array_equal(example["rotary_cos"], cos)
    assert np.array_equal(example["rotary_sin"], sin)
    ids = [original._prepare_latent_image_ids(1, *grid, "cpu", torch.float32) for grid in (target, reference)]
    ids[1][..., 0] = 1
    tensors = {name: torch.from_numpy(array) for name, array in example.items()}
    with torch.inference_mode():
        expected = original.transformer(
            hidden_states=tensors["hidden_states"],
            timestep=tensors["timestep"],
            guidance=tensors["guidance"],
            pooled_projections=tensors["pooled"],
            encoder_hidden_states=tensors["encoder_hidden_states"],
            txt_ids=torch.zeros(text_tokens, 3),
            img_ids=torch.cat(ids),
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


def test_what_is_settled(model, original):
    from diffusers.pipelines.flux.pipeline_flux_kontext import PREFERRED_KONTEXT_RESOLUTIONS

    settings = plain(model.settings)
    assert [component.name for component in model.components] == [
        "text_encoder", "text_encoder_2", "denoiser", "vae_encoder", "vae_decoder",
    ]  # fmt: skip
    assert settings["size"]["preferred"] == [list(size) for size in PREFERRED_KONTEXT_RESOLUTIONS]
    assert settings["latents"] == {"channels": 8, "compression": 8, "scale": 0.3611, "shift": 0.1159, "patch": 2}
    # what the published configuration leaves out too
    assert {name: original.scheduler.config[name] for name in settings["scheduler"]} == settings["scheduler"]
    assert settings["text"]["t5"]["padding"] == original.tokenizer_2.pad_token_id
    assert settings["guidance_embedded"] is True
    assert settings["guidance"] == {"embedded": 2.5, "text": 1.0}


def padded_ids(tokenizer_json: bytes, prompt: str, tokens: int, padding: int) -> np.ndarray:
    """Tokenise as the runtime does: special tokens added, cut and filled to a length; int64 (1, tokens)."""
    tokenizer = Tokenizer.from_str(tokenizer_json.decode())
    tokenizer.enable_truncation(tokens)
    tokenizer.enable_padding(length=tokens, pad_id=padding)
    return np.array([tokenizer.encode(prompt).ids])


def picture_positions(grids: list[tuple[int, int, int]]) -> np.ndarray:
    """Return (tokens, 3) of pictures given as first axis, rows and columns."""
    return np.concatenate([
        np.stack(np.broadcast_arrays(first, *np.indices((rows, columns))), axis=-1).reshape(-1, 3)
        for first, rows, columns in grids
    ])  # fmt: skip


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
