"""Qwen-Image-Edit as it is captured against diffusers' and transformers' own modules, called as their pipelines do."""

from __future__ import annotations

import fnmatch
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny.qwen_image_edit import build, processor, write_lightning
from tiny.running import Running, difference, opened

from converters.folder import PipelineFolder
from converters.lora import read_lora
from converters.pipelines.qwen_image_edit import AREA, PIPELINE, WORDS, distilled_steps
from converters.qwen25_vl import text_component, vision_component
from converters.qwen_image_modules import qwen_image_denoiser
from converters.shards import renamed
from converters.source import run_module
from converters.still_autoencoder import StillWeights
from edge_runtime.diffusion import qwen_vl
from edge_runtime.diffusion.settings import Settings
from edge_runtime.errors import ConversionError
from edge_runtime.families.qwen_image_edit import rotary_inputs

pytestmark = pytest.mark.slow
MOST = 1e-4
VARIANTS = {"single": {}, "plus": {"plus": True}, "2511": {"plus": True, "zero_cond_t": True}}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in VARIANTS}
    for name, folder in folders.items():
        build(folder, **VARIANTS[name])
    return folders


@pytest.fixture(scope="module")
def models(checkpoints):
    return {name: opened(PIPELINE, folder) for name, folder in checkpoints.items()}


@pytest.fixture(scope="module")
def graphs(models, tmp_path_factory):
    """Everything of the single variant, and the other's denoisers: the rest of them is the same."""
    folder = tmp_path_factory.mktemp("graphs")
    return {
        (name, component.name): Running(component, folder / name)
        for name, model in models.items()
        for component in model.components
        if name == "single" or (name == "2511" and component.name == "denoiser")
    }


@pytest.fixture(scope="module")
def originals(checkpoints):
    from diffusers import QwenImageEditPipeline, QwenImageEditPlusPipeline

    return {
        name: (QwenImageEditPipeline if name == "single" else QwenImageEditPlusPipeline).from_pretrained(
            folder, processor=processor(folder / "processor")
        )
        for name, folder in checkpoints.items()
    }


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("name", "pictures"),
    [("single", [(56, 56)]), ("single", [(112, 196)]), ("single", [(196, 84)]), ("plus", [(84, 140), (168, 112)])],
)
def test_qwen_sees_and_reads_as_the_original(models, graphs, originals, name, pictures):
    original, settings = originals[name], models[name].settings
    images = [noise(*size, seed=seed) for seed, size in enumerate(pictures)]
    prompt = written("make it snowy", len(images), settings["text"])
    inputs = original.processor(text=[prompt], images=images, padding=True, return_tensors="pt")
    encoder = original.text_encoder
    with torch.inference_mode():
        seen = encoder.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]).pooler_output.numpy()
        expected = encoder(**inputs, output_hidden_states=True).hidden_states[-1].numpy()
        plain = original._get_qwen_prompt_embeds("make it snowy", images if len(images) > 1 else images[0])[0].numpy()
    text, vision = (Settings(settings[name]) for name in ("text", "vision"))
    patched = [qwen_vl.patches(image, vision) for image in images]
    assert np.abs(np.concatenate([some.values for some in patched]) - inputs["pixel_values"].numpy()).max() < 1e-5
    assert [(1, some.rows, some.columns) for some in patched] == [*map(tuple, inputs["image_grid_thw"].tolist())]
    tokens = np.concatenate([
        graphs["single", "vision_encoder"](**qwen_vl.window_inputs(some, vision))["image_embeddings"]
        for some in patched
    ])  # fmt: skip
    assert difference(tokens, seen) < MOST
    ids, image = inputs["input_ids"][0].tolist(), text.whole("image_token")

    def read(places: np.ndarray) -> np.ndarray:
        words = qwen_vl.text_inputs(ids, image, places, text.part("rotary"))
        return graphs["single", "text_encoder"](image_embeddings=tokens, **words)["embeddings"]

    places = qwen_vl.text_positions(np.array(ids) == image, [some.tokens for some in patched])
    assert difference(read(places), expected) < MOST
    # diffusers 0.42 doesn't tell transformers 5 which tokens are pictures, so there every token gets the next place
    one_by_one = read(np.tile(np.arange(len(ids)), (3, 1)))
    assert difference(one_by_one[:, text.whole("dropped_tokens") :], plain) < MOST


def test_what_is_written_is_what_the_originals_write(models, originals):
    instruction = "paint it {red}"
    asked = []
    for name, count in (("single", 1), ("plus", 2)):
        pipe = originals[name]
        inner = pipe.processor

        def recording(text, inner=inner, **rest):
            asked.append(text[0])
            return inner(text=text, **rest)

        pipe.processor = recording
        images = [noise(56, 56)] * count
        with torch.inference_mode():
            pipe._get_qwen_prompt_embeds(instruction, images if count > 1 else images[0])
        pipe.processor = inner
        assert asked[-1] == written(instruction, count, models[name].settings["text"])
        assert models[name].settings["text"]["dropped_tokens"] == pipe.prompt_template_encode_start_idx


@pytest.mark.parametrize("name", ["single", "2511"])
@pytest.mark.parametrize("grids", [[(4, 6), (5, 4)], [(6, 5), (4, 8)], [(7, 3), (3, 5), (4, 4)]])
def test_denoiser_predicts_as_the_original(graphs, originals, models, name, grids):
    random = np.random.default_rng(len(grids))
    tokens, words = sum(rows * columns for rows, columns in grids), 29
    hidden = random.standard_normal((1, tokens, 64)).astype(np.float32)
    text = random.standard_normal((1, words, 128)).astype(np.float32)
    with torch.inference_mode():
        expected = originals[name].transformer(
            hidden_states=torch.from_numpy(hidden),
            encoder_hidden_states=torch.from_numpy(text),
            timestep=torch.tensor([0.7]),
            img_shapes=[[(1, *grid) for grid in grids]],
            return_dict=False,
        )[0]
    inputs = {
        "hidden_states": hidden,
        "encoder_hidden_states": text,
        "timestep": np.array([0.7], np.float32),
        **rotary_inputs(grids, words, Settings(models[name].settings["rotary"])),
    }
    if name == "2511":  # references stay at time 0
        first = grids[0][0] * grids[0][1]
        inputs["modulation_index"] = (np.arange(tokens) >= first).astype(np.int64)[None]
    assert difference(graphs[name, "denoiser"](**inputs)["prediction"], expected.numpy()) < MOST


def test_the_examples_tables_are_those_of_a_picture_and_a_reference(models):
    example = component(models["2511"], "denoiser").examples[0]
    tables = rotary_inputs([(4, 6), (5, 4)], 28, Settings(models["2511"].settings["rotary"]))
    assert all(np.array_equal(example[name], table) for name, table in tables.items())
    assert example["modulation_index"].tolist() == [[0] * 24 + [1] * 20]


def test_autoencoder_of_one_picture_as_the_original_of_videos(graphs, originals):
    vae = originals["single"].vae
    encoder, decoder = graphs["single", "vae_encoder"], graphs["single", "vae_decoder"]
    odd = np.random.default_rng(0).standard_normal((1, 16, 5, 9)).astype(np.float32)
    with torch.inference_mode():
        for example, output in encoder.examples():
            expected = vae.encode(torch.from_numpy(example["image"])[:, :, None]).latent_dist.mode()[:, :, 0]
            assert difference(output["latents"], expected.numpy()) < MOST
        for example, output in (*decoder.examples(), ({"latents": odd}, decoder(latents=odd))):
            expected = vae.decode(torch.from_numpy(example["latents"])[:, :, None]).sample[:, :, 0]
            assert difference(output["image"].clip(-1, 1), expected.numpy()) < MOST


def test_the_autoencoders_graphs_are_flat(graphs):
    import onnx

    for name in ("vae_encoder", "vae_decoder"):
        model = onnx.load(graphs["single", name].session._model_path, load_external_data=False)
        kernels = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 4]
        assert kernels and all(len(tensor.dims) <= 4 for tensor in model.graph.initializer)
        assert not {node.op_type for node in model.graph.node} & {"Loop", "If", "Scan"}


def test_only_the_slice_in_time_that_meets_a_picture_is_read(checkpoints):
    weights = PipelineFolder.open(str(checkpoints["single"])).weights("vae")
    still = StillWeights(weights)
    assert still.names == weights.names
    for name in still.names:
        assert still.read(name).shape == still.shape(name)
    name = "decoder.mid_block.resnets.0.conv1.weight"
    assert np.array_equal(still.read(name), weights.read(name)[:, :, 2])


def test_both_layouts_of_the_text_encoder_are_read(checkpoints, models):
    weights = PipelineFolder.open(str(checkpoints["single"])).weights("text_encoder")

    def other_layout(name: str) -> str:
        if name.startswith("visual."):
            return f"model.{name}"
        return name.replace("model.", "model.language_model.") if name.startswith("model.") else name

    assert any(name.startswith("visual.") for name in weights.names)  # transformers writes the old one
    from converters.qwen25_vl import read_config

    config = read_config(PipelineFolder.open(str(checkpoints["single"])).config("text_encoder"))
    for describe, name in ((vision_component, "vision_encoder"), (text_component, "text_encoder")):
        sizes = (AREA,) if name == "vision_encoder" else (AREA, WORDS)
        old, new = component(models["single"], name), describe(config, renamed(weights, other_layout), *sizes)
        assert set(old.weights.names) == set(new.weights.names) == set(dict(old.module().named_parameters()))


def test_lightning_is_fused_and_its_schedule_recorded(checkpoints, models, tmp_path):
    lora = tmp_path / "Qwen-Image-Edit-2509-Lightning-8steps-V1.0-bf16.safetensors"
    write_lightning(lora)
    model = opened(PIPELINE, checkpoints["plus"], lora)
    plain, fused = (component(some, "denoiser").weights for some in (models["plus"], model))
    name = "transformer_blocks.1.attn.to_out.0"
    file = read_lora(lora).file
    added = 8 / 4 * file.read(f"{name}.lora_up.weight") @ file.read(f"{name}.lora_down.weight")
    changed = fused.read(f"model.{name}.weight") - plain.read(f"model.{name}.weight")
    assert np.allclose(changed, added, atol=1e-6) and np.abs(added).max() > 1e-3
    assert model.provenance["loras"] == lora.name
    settings = model.settings
    assert settings["steps"] == 8 and settings["distilled"] and settings["guidance"] == {}
    assert settings["scheduler"]["base_shift"] == settings["scheduler"]["max_shift"] == math.log(3)
    assert settings["scheduler"]["shift_terminal"] is None
    differing = {name for name in settings if settings[name] != models["plus"].settings[name]}
    assert differing == {"scheduler", "steps", "distilled", "guidance"}


def test_steps_come_from_names_and_metadata(tmp_path):
    from safetensors.numpy import load_file, save_file

    def lora(name: str, metadata: dict[str, str] | None = None):
        path = tmp_path / name
        write_lightning(path)
        save_file(load_file(path), path, metadata=metadata)
        return read_lora(path)

    style = lora("snow_2000steps.safetensors")
    four = lora("Qwen-Image-Edit-2511-Lightning-4steps-V1.0-fp32.safetensors")
    eight = lora("lightning.safetensors", {"title": "Lightning, 8 steps"})
    assert distilled_steps([]) is None and distilled_steps([style]) is None
    assert distilled_steps([style, four]) == 4 and distilled_steps([eight]) == 8
    with pytest.raises(ConversionError, match="different numbers of steps"):
        distilled_steps([four, eight])
    with pytest.raises(ConversionError, match="for how many steps"):
        distilled_steps([lora("Lightning-V2.safetensors")])


def test_what_is_settled(models, originals):
    single, plus = models["single"].settings, models["plus"].settings
    assert [part.name for part in models["single"].components] == [
        "vision_encoder", "text_encoder", "denoiser", "vae_encoder", "vae_decoder",
    ]  # fmt: skip
    differing = {name for name in single if single[name] != plus[name]}
    assert differing == {"pipeline", "steps", "size", "references", "text", "vision"}
    assert single["vision"]["area"] == 1024 * 1024 and plus["vision"]["area"] == 384 * 384
    assert single["size"]["area"] == plus["references"]["area"] == 1024 * 1024
    assert (plus["vision"]["least_pixels"], plus["vision"]["most_pixels"]) == (3136, 12845056)
    assert plus["scheduler"]["shift_terminal"] == 0.02 and plus["guidance"] == {"text": 4.0}
    latents, config = single["latents"], originals["plus"].vae.config
    assert latents["mean"][::4] == config.latents_mean and latents["std"][3::4] == config.latents_std
    assert single["text"]["rotary"]["sections"] == [4, 6, 6] and single["text"]["final_norm"]
    assert single["text"]["positions"] == "multimodal"
    assert single["text"]["most_tokens"] == originals["single"].tokenizer_max_length


def test_what_stays_float(models):
    def kept(name: str) -> set[str]:
        part = component(models["2511"], name)
        return {layer for layer in part.weights.names for pattern in part.exclude if fnmatch.fnmatch(layer, pattern)}

    assert {layer.split(".")[1] for layer in kept("denoiser")} == {"time_text_embed", "img_in", "txt_in", "proj_out"}
    assert kept("vision_encoder") == {"patch_embed.proj.weight"}
    assert kept("vae_decoder") == {
        "model.decoder.conv_in.weight", "model.decoder.conv_out.weight", "model.post_quant_conv.weight",
    }  # fmt: skip


def test_calibration_is_of_the_real_kind(models):
    for name in ("vae_encoder", "vae_decoder"):
        part = component(models["single"], name)
        samples = list(part.calibration())
        assert len(samples) == 8
        assert {spec.name for spec in part.inputs} == set(samples[0])
    module = component(models["single"], "vae_encoder").module().eval()
    assert run_module(module, component(models["single"], "vae_encoder"), samples_of(models, "vae_encoder")[0])


def test_a_transformer_of_another_model_is_refused(checkpoints):
    folder = PipelineFolder.open(str(checkpoints["single"]))
    with pytest.raises(ConversionError, match="another model"):
        config = {**folder.config("transformer"), "use_layer3d_rope": True}
        qwen_image_denoiser(config, folder.weights("transformer"), AREA, WORDS)


def samples_of(models, name):
    return list(component(models["single"], name).calibration())


def component(model, name):
    return next(part for part in model.components if part.name == name)


def written(instruction: str, pictures: int, text: dict) -> str:
    before = "".join(text["picture"].format(place + 1) for place in range(pictures))
    return text["template"].replace("{}", before + instruction)
