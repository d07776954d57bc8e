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
from edge_runtime.diffusion import qwen_vl
from edge_runtime.diffusion.settings import Settings

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
    text, vision = Settings(settings.text), Settings(settings.vision)
    patched = qwen_vl.patches(Image.fromarray(noise), vision)
    assert np.abs(patched.values - inputs["pixel_values"].numpy()).max() < 1e-5
    tokens = graphs["vision_encoder"](**qwen_vl.whole_inputs(patched, vision))
    ids, image = inputs["input_ids"][0].tolist(), text.whole("image_token")
    places = qwen_vl.text_positions(np.array(ids) == image, [patched.tokens])
    hidden = graphs["text_encoder"](**tokens, **qwen_vl.text_inputs(ids, image, places, text.part("rotary")))
    assert difference(tokens["image_embeddings"], seen.pooler_output.numpy()) < MOST
    assert difference(tokens["deepstack"], torch.stack(seen.deepstack_features).numpy()) < MOST
    assert difference(hidden["embeddings"], before_norm[0].numpy()) < MOST


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
    ids, width = inputs["input_ids"][0].tolist(), before_norm[0].shape[-1]
    text = Settings(settings.text)
    places = np.tile(np.arange(len(ids)), (3, 1))
    hidden = graphs["text_encoder"](
        image_embeddings=np.zeros((1, width), np.float32),
        deepstack=np.zeros((settings.vision["levels"], 1, width), np.float32),
        **qwen_vl.text_inputs(ids, text.whole("image_token"), places, text.part("rotary")),
    )
    assert difference(hidden["embeddings"], before_norm[0].numpy()) < MOST


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
