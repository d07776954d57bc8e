"""InstructPix2Pix as it is captured against diffusers' own modules, called the way their pipeline does."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from tiny.running import difference, opened
from tokenizers import Tokenizer

from converters.capture import capture
from converters.pipelines.instruct_pix2pix import PIPELINE
from edge_runtime.errors import ConversionError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # the scheduler's, with NumPy 2
]
FAMILY = "instruct_pix2pix"
MOST = 1e-4


@pytest.fixture(scope="module")
def original(checkpoint):
    from diffusers import StableDiffusionInstructPix2PixPipeline

    return StableDiffusionInstructPix2PixPipeline.from_pretrained(checkpoint)


def test_text_is_read_as_the_original(model, graphs, original):
    settings = model.settings["text"]
    tokenizer = Tokenizer.from_str(model.files["tokenizer"].decode())
    ids = tokenizer.encode("Make it SNOWY, please").ids
    ids = np.array([ids + [settings["padding"]] * (settings["tokens"] - len(ids))])
    bias = np.triu(np.full((1, 1, *ids.shape[1:], *ids.shape[1:]), -1e4, np.float32), k=1)
    output = graphs["text_encoder"](input_ids=ids, attention_bias=bias)
    expected = original._encode_prompt("Make it SNOWY, please", "cpu", 1, False)
    assert difference(output["embeddings"], expected.detach().numpy()) < MOST


def test_denoiser_predicts_as_the_original_at_any_size(graphs, original):
    denoiser = graphs["denoiser"]
    examples = denoiser.examples()
    odd = dict(examples[1][0], hidden_states=np.random.default_rng(3).normal(size=(1, 8, 7, 13)).astype(np.float32))
    for example, output in (*examples, (odd, denoiser(**odd))):
        hidden, text = (torch.from_numpy(example[name]) for name in ("hidden_states", "encoder_hidden_states"))
        with torch.inference_mode():
            expected = original.unet(hidden, example["timestep"].item(), encoder_hidden_states=text).sample
        assert difference(output["prediction"], expected.numpy()) < MOST


def test_autoencoder_as_the_original(graphs, original):
    with torch.inference_mode():
        for example, output in graphs["vae_encoder"].examples():
            expected = original.vae.encode(torch.from_numpy(example["image"])).latent_dist.mode()
            assert difference(output["latents"], expected.numpy()) < MOST
        for example, output in graphs["vae_decoder"].examples():
            expected = original.vae.decode(torch.from_numpy(example["latents"])).sample
            assert difference(output["image"], expected.numpy()) < MOST


def test_what_is_settled(model):
    settings = model.settings
    assert [component.name for component in model.components] == [
        "text_encoder", "denoiser", "vae_encoder", "vae_decoder",
    ]  # fmt: skip
    assert settings["scheduler"]["beta_schedule"] == "scaled_linear"
    assert settings["scheduler_class"] == "EulerAncestralDiscreteScheduler"
    assert settings["guidance"] == {"text": 7.5, "image": 1.5}
    assert settings["size"] == {"multiple": 8, "largest": 2048, "area": 512 * 512, "enlarges": False}
    assert settings["latents"] == {"channels": 4, "compression": 8, "scale": 0.18215, "shift": 0.0}
    assert settings["text"] == {"negative": "", "tokens": 77, "padding": 513}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"_class_name": "PNDMScheduler"}, r"PNDMScheduler for epsilon.*EulerAncestralDiscreteScheduler.*from_config"),
        ({"prediction_type": "v_prediction"}, r"EulerAncestralDiscreteScheduler for v_prediction"),
    ],
)
def test_a_scheduler_that_the_runtime_does_not_have_is_refused(checkpoint, tmp_path, members, message):
    other = shutil.copytree(checkpoint, tmp_path / "other")
    path = other / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))
    with pytest.raises(ConversionError, match=message):
        opened(PIPELINE, other)


def test_calibration_is_of_the_denoisers_kind(model):
    denoiser = next(component for component in model.components if component.name == "denoiser")
    inputs = list(denoiser.calibration())
    assert 4 <= len(inputs) <= 8
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for one in inputs for array in one.values())


def test_the_unet_is_traced_by_the_exporters_quick_way(model, monkeypatch):
    ways, export = [], torch.export.export

    def recorded(*arguments, **options):
        ways.append(options["strict"])
        return export(*arguments, **options)

    monkeypatch.setattr(torch.export, "export", recorded)
    capture(next(component for component in model.components if component.name == "denoiser"))
    assert ways == [False]
