"""DreamLite as it is captured against diffusers' and transformers' own modules, called the way their pipeline does."""

from __future__ import annotations

import fnmatch
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny.dreamlite import build
from tiny.qwen_vl import qwen3_processor
from tiny.running import difference

from converters.calibration import bundled_photographs
from converters.folder import PipelineFolder
from converters.pipelines.dreamlite import PIPELINE

pytestmark = pytest.mark.slow
FAMILY = "dreamlite"
MOST = 1e-4


@pytest.fixture(scope="module")
def original(checkpoint):
    from diffusers import DreamLiteMobilePipeline

    return DreamLiteMobilePipeline.from_pretrained(checkpoint, processor=qwen3_processor(checkpoint / "processor"))


@pytest.mark.parametrize(("pixels", "words"), [((128, 192), "make it snowy"), ((160, 96), "turn the sky red, please")])
def test_qwen_sees_and_reads_as_the_original(model, graphs, original, pixels, words):
    settings = SimpleNamespace(**model.settings)
    noise = np.random.default_rng(0).integers(0, 256, (*pixels, 3), dtype=np.uint8)
    prompt = settings.text["template"].format(settings.text["instruction"].format(words))
    inputs = original.processor(text=[prompt], images=[Image.fromarray(noise)], padding=True, return_tensors="pt")
    encoder = original.text_encoder
    before_norm = []
    hook = encoder.model.language_model.layers[-1].register_forward_hook(
        lambda layer, args, output: before_norm.append(output)
    )
    with torch.inference_mode():
        seen = encoder.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
        encoder(**inputs, output_hidden_states=True)
    hook.remove()
    rows, columns = inputs["image_grid_thw"][0, 1:].tolist()
    index, weight = learned_positions(rows, columns, settings.vision)
    cos, sin = vision_rotary(rows, columns, settings.vision)
    vision = graphs["vision_encoder"](
        patches=inputs["pixel_values"].numpy(),
        position_index=index,
        position_weight=weight,
        rotary_cos=cos,
        rotary_sin=sin,
    )
    ids = inputs["input_ids"].numpy()
    is_image = ids == settings.text["image_token"]
    cos, sin = text_rotary(text_positions(is_image[0], rows // 2, columns // 2), settings.text["rotary"])
    text = graphs["text_encoder"](
        input_ids=ids,
        image_index=np.where(is_image, is_image.cumsum() - 1, -1),
        **vision,
        attention_bias=np.triu(np.full((1, 1, ids.shape[1], ids.shape[1]), -1e4, np.float32), k=1),
        rotary_cos=cos,
        rotary_sin=sin,
    )
    assert difference(vision["image_embeddings"], seen.pooler_output.numpy()) < MOST
    assert difference(vision["deepstack"], torch.stack(seen.deepstack_features).numpy()) < MOST
    assert difference(text["embeddings"], before_norm[0].numpy()) < MOST


def test_text_alone_is_read_as_the_original(model, graphs, original):
    settings = SimpleNamespace(**model.settings)
    inputs = original.tokenizer(["a lake at sunrise"], return_tensors="pt")
    before_norm = []
    hook = original.text_encoder.model.language_model.layers[-1].register_forward_hook(
        lambda layer, args, output: before_norm.append(output)
    )
    with torch.inference_mode():
        original.text_encoder(**inputs)
    hook.remove()
    ids = inputs["input_ids"].numpy()
    tokens, width = ids.shape[1], before_norm[0].shape[-1]
    cos, sin = text_rotary(np.tile(np.arange(tokens), (3, 1)), settings.text["rotary"])
    text = graphs["text_encoder"](
        input_ids=ids,
        image_index=np.full_like(ids, -1),
        image_embeddings=np.zeros((1, width), np.float32),
        deepstack=np.zeros((settings.vision["levels"], 1, width), np.float32),
        attention_bias=np.triu(np.full((1, 1, tokens, tokens), -1e4, np.float32), k=1),
        rotary_cos=cos,
        rotary_sin=sin,
    )
    assert difference(text["embeddings"], before_norm[0].numpy()) < MOST


def test_denoiser_predicts_as_the_original_at_any_size(graphs, original):
    denoiser = graphs["denoiser"]
    examples = denoiser.examples()
    odd = dict(examples[1][0], hidden_states=np.random.default_rng(3).normal(size=(1, 4, 9, 26)).astype(np.float32))
    for example, output in (*examples, (odd, denoiser(**odd))):
        tensors = {name: torch.from_numpy(array) for name, array in example.items()}
        with torch.inference_mode():
            expected = original.unet(
                tensors["hidden_states"],
                timestep=tensors["timestep"],
                encoder_hidden_states=tensors["encoder_hidden_states"],
                encoder_attention_mask=torch.ones(tensors["encoder_hidden_states"].shape[:2], dtype=torch.long),
                added_cond_kwargs={"time_ids": tensors["time_ids"]},
                return_dict=False,
            )[0]
        assert difference(output["prediction"], expected.numpy()) < MOST


def test_autoencoder_as_the_original(graphs, original):
    with torch.inference_mode():
        for example, output in graphs["vae_encoder"].examples():
            expected = original.vae.encode(torch.from_numpy(example["image"])).latents
            assert difference(output["latents"], expected.numpy()) < MOST
        for example, output in graphs["vae_decoder"].examples():
            expected = original.vae.decode(torch.from_numpy(example["latents"])).sample
            assert difference(output["image"], expected.numpy()) < MOST


def test_what_is_settled(model, original):
    settings = model.settings
    assert [component.name for component in model.components] == [
        "vision_encoder", "text_encoder", "denoiser", "vae_encoder", "vae_decoder",
    ]  # fmt: skip
    assert settings["text"]["template"] == original.prompt_template_encode_edit
    assert settings["text"]["dropped_tokens"] == original.prompt_template_encode_edit_start_idx
    assert settings["steps"] == 4 and settings["guidance"] == {}
    assert settings["scheduler"]["max_shift"] == 1.16
    assert settings["vision"]["mean"] == [0.5, 0.5, 0.5] and settings["vision"]["patch"] == 16
    assert settings["latents"] == {"channels": 4, "compression": 8, "scale": 1.0, "shift": 0.0}


def test_the_undistilled_class_differs_in_steps_and_guidance(tmp_path, model):
    build(tmp_path, pipeline="DreamLitePipeline")
    other = PIPELINE.open(PipelineFolder.open(str(tmp_path)), (), bundled_photographs())
    differing = {name for name in model.settings if model.settings[name] != other.settings[name]}
    assert differing == {"pipeline", "steps", "guidance"}
    assert other.settings["steps"] == 30 and other.settings["guidance"] == {"text": 3.5, "image": 1.5}


def test_what_stays_float(model):
    denoiser = next(component for component in model.components if component.name == "denoiser")
    kept = {
        name.split(".")[1]
        for name in denoiser.weights.names
        if any(fnmatch.fnmatch(name, pattern) for pattern in denoiser.exclude)
    }
    assert kept == {"conv_in", "conv_out", "time_embedding", "add_embedding", "encoder_hid_proj"}


def in_blocks(rows: int, columns: int, merge: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every patch, in the order in which patches that become one token stand together."""
    grid = np.mgrid[:rows, :columns].reshape(2, rows // merge, merge, columns // merge, merge)
    row, column = grid.transpose(0, 1, 3, 2, 4).reshape(2, -1)
    return row, column


def learned_positions(rows: int, columns: int, vision: dict) -> tuple[np.ndarray, np.ndarray]:
    """Where the four neighbours of every patch stand in the learned square table, and their bilinear weights."""
    side = vision["positions_per_side"]
    row, column = in_blocks(rows, columns, vision["merge"])
    y, x = row * (side - 1) / max(rows - 1, 1), column * (side - 1) / max(columns - 1, 1)
    index, weight = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            top, left = np.floor(y) + dy, np.floor(x) + dx
            index.append(np.minimum(top, side - 1) * side + np.minimum(left, side - 1))
            weight.append((1 - np.abs(y - top)) * (1 - np.abs(x - left)))
    return np.array(index, np.int64), np.array(weight, np.float32)


def vision_rotary(rows: int, columns: int, vision: dict) -> tuple[np.ndarray, np.ndarray]:
    width, theta = vision["rotary"]["width"], vision["rotary"]["theta"]
    frequencies = theta ** (-np.arange(0, width // 2, 2) / (width // 2))
    angles = np.concatenate([place[:, None] * frequencies for place in in_blocks(rows, columns, vision["merge"])], 1)
    return both_halves(angles)


def text_positions(is_image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """int64 (3, tokens): time, row and column; text goes on behind the longer side of the image."""
    places = np.zeros((3, len(is_image)), np.int64)
    start = int(is_image.argmax())
    end = start + rows * columns
    places[:, :start] = np.arange(start)
    places[0, start:end] = start
    places[1:, start:end] = start + np.mgrid[:rows, :columns].reshape(2, -1)
    places[:, end:] = start + max(rows, columns) + np.arange(len(is_image) - end)
    return places


def text_rotary(places: np.ndarray, rotary: dict) -> tuple[np.ndarray, np.ndarray]:
    frequencies = rotary["theta"] ** (-np.arange(0, rotary["width"], 2) / rotary["width"])
    angles = places[0][:, None] * frequencies
    for axis in (1, 2):
        taken = slice(axis, 3 * rotary["sections"][axis], 3)
        angles[:, taken] = places[axis][:, None] * frequencies[taken]
    return both_halves(angles)


def both_halves(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both = np.concatenate((angles, angles), axis=1)
    return np.cos(both).astype(np.float32), np.sin(both).astype(np.float32)
