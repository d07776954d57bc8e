"""Low-rank files of every naming, fused while reading: compared with diffusers' own converters on tiny real models."""

import json
import re

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel, QwenImageTransformer2DModel
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_qwen_lora_to_diffusers,
    _convert_xlabs_flux_lora_to_diffusers,
)
from safetensors.torch import save_file

from converters.lora import fuse, read_lora, require_components
from converters.shards import open_shards
from edge_runtime.errors import ConversionError, OptionError

SEED = torch.Generator().manual_seed(0)


def noise(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=SEED).to(dtype)


@pytest.fixture(scope="module")
def flux(tmp_path_factory):
    """The weights of a tiny FLUX transformer, as written by diffusers."""
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        in_channels=4, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("flux")
    model.save_pretrained(folder)
    return open_shards(folder)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """The weights of a tiny Qwen-Image transformer, as written by diffusers, in bfloat16."""
    torch.manual_seed(0)
    model = QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("qwen")
    model.to(torch.bfloat16).save_pretrained(folder)
    return open_shards(folder)


@pytest.fixture
def tiny(tmp_path):
    """Weights of a linear layer, a convolution, a pointwise one, and integers."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    tensors = {
        "block.linear.weight": noise(6, 4), "block.linear.bias": noise(6), "block.conv.weight": noise(5, 3, 3, 3),
        "block.point.weight": noise(5, 3, 1, 1), "block.table.weight": torch.ones(6, 4, dtype=torch.int64),
    }  # fmt: skip
    save_file(tensors, folder / "model.safetensors")
    return open_shards(folder)


def write(path, tensors, metadata=None):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)
    return str(path)


def xlabs(weights, rank, dtype=torch.float32):
    """Random tensors named like UNO's, for all blocks."""
    state = {}
    for block in range(2):
        for name, modules in {
            f"double_blocks.{block}.processor.qkv_lora1": ["attn.to_q", "attn.to_k", "attn.to_v"],
            f"double_blocks.{block}.processor.proj_lora1": ["attn.to_out.0"],
            f"double_blocks.{block}.processor.qkv_lora2": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
            f"double_blocks.{block}.processor.proj_lora2": ["attn.to_add_out"],
            f"single_blocks.{block}.processor.qkv_lora": ["attn.to_q", "attn.to_k", "attn.to_v"],
            f"single_blocks.{block}.processor.proj_lora": ["proj_out"],
        }.items():
            kind = "single_transformer_blocks" if name.startswith("single") else "transformer_blocks"
            outputs, inputs = weights.shape(f"{kind}.{block}.{modules[0]}.weight")
            state[f"{name}.down.weight"] = noise(rank, inputs, dtype=dtype)
            state[f"{name}.up.weight"] = noise(outputs * len(modules), rank, dtype=dtype)
    return state


def lightning(weights, rank, naming="{}"):
    """Random tensors named like Lightning's, for every matrix of the blocks; alphas differ."""
    state = {}
    for name in weights.names:
        if name.startswith("transformer_blocks.") and len(weights.shape(name)) == 2:
            module = naming.format(name.removesuffix(".weight"))
            outputs, inputs = weights.shape(name)
            state[f"{module}.lora_down.weight"] = noise(rank, inputs)
            state[f"{module}.lora_up.weight"] = noise(outputs, rank)
            state[f"{module}.alpha"] = torch.tensor(float(1 + len(state) % 7))
    return state


def fused_by_hand(weights, converted, strength=1.0):
    """W + strength * B @ A for diffusers' own names; float32 by state-dict name, in float64 arithmetic."""
    expected = {name: weights.read(name).astype(np.float64) for name in weights.names}
    for name, down in converted.items():
        if name.endswith(".lora_A.weight"):
            module = name.removesuffix(".lora_A.weight")
            up = converted[f"{module}.lora_B.weight"]
            expected[f"{module.removeprefix('transformer.')}.weight"] += (
                strength * (up.double() @ down.double()).numpy()
            )
    return {name: array.astype(np.float32) for name, array in expected.items()}


def assert_equal(weights, expected):
    """All tensors agree up to float32's rounding."""
    assert set(weights.names) == set(expected)
    for name, array in expected.items():
        read = weights.read(name)
        assert read.dtype == np.float32 and weights.shape(name) == read.shape == array.shape
        np.testing.assert_allclose(read, array, rtol=1e-5, atol=5e-6)


def changed(fused, weights):
    return {name for name in weights.names if not np.array_equal(fused.read(name), weights.read(name))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
def test_xlabs_names_agree_with_diffusers(prefix, dtype, flux, tmp_path):
    state = {f"{prefix}{name}": tensor for name, tensor in xlabs(flux, 4, dtype).items()}
    fused = fuse(flux, [read_lora(write(tmp_path / "uno.safetensors", state))])
    assert_equal(fused, fused_by_hand(flux, _convert_xlabs_flux_lora_to_diffusers(dict(state))))
    assert len(changed(fused, flux)) == 2 * (8 + 4)


def test_qkv_deltas_are_exact(flux, tmp_path):
    """Whole numbers leave nothing to rounding: the difference from diffusers is 0."""
    state = {name: tensor.round() for name, tensor in xlabs(flux, 4).items()}
    zeros = {f"{name}": torch.zeros(flux.shape(name)) for name in flux.names}
    (tmp_path / "zeros").mkdir()
    save_file(zeros, tmp_path / "zeros" / "model.safetensors")
    weights = open_shards(tmp_path / "zeros")
    fused = fuse(weights, [read_lora(write(tmp_path / "uno.safetensors", state))])
    for name, array in fused_by_hand(weights, _convert_xlabs_flux_lora_to_diffusers(dict(state))).items():
        np.testing.assert_array_equal(fused.read(name), array)


@pytest.mark.parametrize("naming", ["{}", "diffusion_model.{}"])
def test_lightning_names_agree_with_diffusers(naming, qwen, tmp_path):
    state = lightning(qwen, 4, naming)
    fused = fuse(qwen, [read_lora(write(tmp_path / "lightning.safetensors", state))])
    assert_equal(fused, fused_by_hand(qwen, _convert_non_diffusers_qwen_lora_to_diffusers(dict(state))))
    assert len(changed(fused, qwen)) == len(state) // 3 > 20


def test_names_with_underscores_agree_with_diffusers(qwen, tmp_path):
    state = {}
    for name, tensor in lightning(qwen, 2).items():
        module, dot, role = re.fullmatch(r"(.+?)(\.)(lora_\w+\.weight|alpha)", name).groups()
        state[f"lora_unet_{module.replace('.', '_')}{dot}{role}"] = tensor
    fused = fuse(qwen, [read_lora(write(tmp_path / "kohya.safetensors", state))])
    assert_equal(fused, fused_by_hand(qwen, _convert_non_diffusers_qwen_lora_to_diffusers(dict(state))))


@pytest.mark.parametrize(
    "naming",
    [
        "transformer.{}.lora_{}.weight", "unet.{}.lora_{}.weight", "{}.lora_{}.weight",
        "diffusion_model.{}.lora_{}.weight", "base_model.model.{}.lora_{}.default.weight",
        "base_model.model.transformer.{}.lora_{}.weight",
    ],
)  # fmt: skip
def test_names_of_peft(naming, tiny, tmp_path):
    down, up = noise(2, 4), noise(6, 2)
    state = {naming.format("block.linear", "A"): down, naming.format("block.linear", "B"): up}
    path = write(tmp_path / "peft.safetensors", state)
    expected = tiny.read("block.linear.weight") + (up @ down).numpy()
    for component in ("transformer", "unet"):
        fused = fuse(tiny, [read_lora(path)], component=component)
        np.testing.assert_allclose(fused.read("block.linear.weight"), expected, atol=1e-6)
        assert changed(fused, tiny) == {"block.linear.weight"}


def test_convolutions(tiny, tmp_path):
    down, up = noise(2, 3, 3, 3), noise(5, 2, 1, 1)
    thin, flat = noise(2, 3), noise(5, 2)
    state = {
        "block.conv.lora_A.weight": down, "block.conv.lora_B.weight": up,
        "block.point.lora_A.weight": thin, "block.point.lora_B.weight": flat,
    }  # fmt: skip
    fused = fuse(tiny, [read_lora(write(tmp_path / "conv.safetensors", state))])
    layer = torch.nn.functional.conv2d
    picture = noise(1, 3, 8, 8)
    expected = layer(picture, torch.from_numpy(tiny.read("block.conv.weight"))) + layer(layer(picture, down), up)
    got = layer(picture, torch.from_numpy(fused.read("block.conv.weight")))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    point = tiny.read("block.point.weight") + (flat @ thin).numpy()[:, :, None, None]
    np.testing.assert_allclose(fused.read("block.point.weight"), point, atol=1e-6)


def pair(down=None, up=None, module="block.linear"):
    return {
        f"{module}.lora_A.weight": torch.ones(2, 4) if down is None else down,
        f"{module}.lora_B.weight": torch.ones(6, 2) if up is None else up,
    }


def delta(weights, path, component="transformer"):
    """How much a file of ones adds to every value: 2 * scale * strength."""
    added = fuse(weights, [read_lora(path)], component=component).read("block.linear.weight") - weights.read(
        "block.linear.weight"
    )
    np.testing.assert_allclose(added, added[0, 0], atol=1e-5)
    return float(added[0, 0])


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, 1.0),
        ({"transformer.r": 2, "transformer.lora_alpha": 6}, 3.0),
        ({"unet.lora_alpha": 3, "text_encoder.lora_alpha": 20}, 1.5),
        ({"transformer.lora_alpha": None}, 1.0),
        ({"lora_alpha": 1}, 0.5),
        ({"lora_alpha": 8, "use_rslora": True}, 8 / 2**0.5),
        ({"lora_alpha": 8, "alpha_pattern": {"linear": 2}}, 1.0),
        ({"lora_alpha": 8, "alpha_pattern": {"inear": 2, "^block.linear": 4}}, 2.0),
    ],
)
def test_scales_from_settings(settings, scale, tiny, tmp_path):
    metadata = {"lora_adapter_metadata": json.dumps(settings)}
    inside = write(tmp_path / "inside.safetensors", pair(), metadata)
    beside = write(tmp_path / "beside.safetensors", pair())
    assert delta(tiny, beside) == pytest.approx(2, abs=1e-5)
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    for path in (inside, beside):
        assert delta(tiny, path) == pytest.approx(2 * scale, abs=1e-5)


def test_alpha_tensors_come_before_settings(tiny, tmp_path):
    state = {**pair(), "block.linear.alpha": torch.tensor([4], dtype=torch.int64)}
    path = write(tmp_path / "alpha.safetensors", state, {"lora_adapter_metadata": '{"lora_alpha": 20}'})
    assert delta(tiny, path) == pytest.approx(4, abs=1e-5)


@pytest.mark.parametrize(("suffix", "strength"), [("", 1), ("=0.5", 0.5), ("=-1", -1), ("=0", 0), ("=1e-1", 0.1)])
def test_strength(suffix, strength, tiny, tmp_path):
    path = write(tmp_path / "a=b.safetensors", pair())
    assert delta(tiny, path + suffix) == pytest.approx(2 * strength, abs=1e-5)
    lora = read_lora(path + suffix)
    assert lora.name == "a=b.safetensors" + (f"={strength:g}" if strength != 1 else "")
    assert lora.digest() == read_lora(path).digest()


@pytest.mark.parametrize("suffix", ["=", "=strong", "=nan", "=inf", "=0,5"])
def test_strengths_that_are_none(suffix, tmp_path):
    with pytest.raises(OptionError, match="strength of a LoRA can't be used.*FILE=0.8"):
        read_lora(write(tmp_path / "a.safetensors", pair()) + suffix)


def test_several_add_up_and_the_view_gives_fresh_arrays(tiny, tmp_path):
    first = write(tmp_path / "first.safetensors", pair())
    second = write(tmp_path / "second.safetensors", pair(down=torch.full((1, 4), 3.0), up=torch.ones(6, 1)))
    fused = fuse(tiny, [read_lora(first), read_lora(f"{second}=0.5"), read_lora(first)])
    for _ in range(2):
        added = fused.read("block.linear.weight") - tiny.read("block.linear.weight")
        np.testing.assert_allclose(added, 2 + 1.5 + 2, atol=1e-5)


def test_umo_takes_the_place_of_uno(flux, tmp_path):
    """As loading UMO's file over UNO's with load_state_dict(strict=False, assign=True) does."""
    uno = xlabs(flux, 4)
    umo = {name: tensor for name, tensor in xlabs(flux, 6).items() if "single_blocks.1" not in name}
    loras = [read_lora(write(tmp_path / f"{n}.safetensors", s)) for n, s in (("uno", uno), ("umo", umo))]
    merged = _convert_xlabs_flux_lora_to_diffusers({**uno, **umo})
    assert_equal(fuse(flux, loras, override=True), fused_by_hand(flux, merged))
    name = "transformer_blocks.0.attn.to_q.weight"
    assert np.abs(fuse(flux, loras).read(name) - fuse(flux, loras, override=True).read(name)).max() > 0.1


def test_components_get_their_own_pairs(tiny, tmp_path):
    inner = "text_model.block.linear"
    state = pair(module="transformer.block.linear") | pair(
        module=f"text_encoder.{inner}", down=torch.ones(1, 4), up=torch.ones(6, 1)
    )
    path = write(tmp_path / "both.safetensors", state)
    lora = read_lora(path)
    assert lora.components == ("", "text_encoder")
    assert delta(tiny, path) == pytest.approx(2, abs=1e-5)
    assert delta(tiny, path, "text_encoder") == pytest.approx(1, abs=1e-5)
    assert not changed(fuse(tiny, [lora], component="text_encoder_2"), tiny)
    require_components([lora], ["transformer", "text_encoder"])
    with pytest.raises(ConversionError, match="can't have changed. Got text_encoder. Allowed: unet, vae"):
        require_components([lora], ["unet", "vae"])
    with pytest.raises(ConversionError, match="Got transformer or unet"):
        require_components([lora], ["text_encoder"])


def test_kohya_text_encoders(tiny, tmp_path):
    state = {
        "lora_te1_text_model_block_linear.lora_down.weight": torch.ones(1, 4),
        "lora_te1_text_model_block_linear.lora_up.weight": torch.ones(6, 1),
    }
    path = write(tmp_path / "te.safetensors", state)
    assert delta(tiny, path, "text_encoder") == pytest.approx(1, abs=1e-5)


def test_keys_that_fit_no_tensor(flux, tmp_path):
    state = {}
    for number in range(7):
        state |= pair(module=f"transformer.strange.{number}")
    state |= pair(module="transformer.transformer_blocks.0.attn.to_q")
    lora = read_lora(write(tmp_path / "other.safetensors", state))
    with pytest.raises(ConversionError) as caught:
        fuse(flux, [lora])
    assert re.search(
        r"other.safetensors doesn't fit the transformer: .*strange\.0\..*strange\.3.* 3 more", str(caught.value)
    )
    assert re.search(r"Got 7 of 8 pairs.*modules such as context_embedder, .* more", str(caught.value))


def test_shapes_that_do_not_fit(tiny, flux, tmp_path):
    for down, up, got in (
        (torch.ones(2, 5), None, "6, 5"),
        (None, torch.ones(7, 2), "7, 4"),
        (torch.ones(2, 4, 3, 3), None, "6, 4, 3, 3"),
    ):
        lora = read_lora(write(tmp_path / "wrong.safetensors", pair(down, up)))
        with pytest.raises(
            ConversionError, match=rf"of wrong.safetensors don't fit block.linear.weight. Got \({got}\)"
        ):
            fuse(tiny, [lora])
    state = {
        f"double_blocks.0.processor.qkv_lora1.{name}.weight": torch.ones(*shape)
        for name, shape in {"down": (2, 32), "up": (32, 2)}.items()
    }
    with pytest.raises(ConversionError, match=r"don't fit each other.*outputs for 3 modules"):
        read_lora(write(tmp_path / "qkv.safetensors", state))


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (torch.ones(3, 4), None), (torch.ones(2), None), (None, torch.ones(6)), (None, torch.ones(6, 2, 3, 3)),
        (torch.ones(0, 4), torch.ones(6, 0)),
    ],
)  # fmt: skip
def test_pairs_that_do_not_fit_each_other(down, up, tmp_path):
    with pytest.raises(ConversionError, match="two tensors of block.linear in odd.safetensors don't fit each other"):
        read_lora(write(tmp_path / "odd.safetensors", pair(down, up)))


@pytest.mark.parametrize(
    ("name", "missing"), [("lora_A.weight", "up"), ("lora_B.weight", "down"), ("alpha", "down and up")]
)
def test_halves_of_pairs(name, missing, tmp_path):
    state = pair(module="fine") | {f"block.linear.{name}": torch.ones(2, 2) if "lora" in name else torch.ones(1)}
    with pytest.raises(
        ConversionError, match=f"tensors of block.linear in half.safetensors are no pair.*{missing} beside"
    ):
        read_lora(write(tmp_path / "half.safetensors", state))


@pytest.mark.parametrize(
    "name", [
        "block.linear.weight", "block.linear.lora_B.bias", "block.linear.lora_magnitude_vector.weight",
        "block.linear.lokr_w1", "double_blocks.0.processor.qkv_lora3.down.weight",
        "double_blocks.0.processor.qkv_lora.down.weight",
    ],
)  # fmt: skip
def test_files_that_are_no_plain_lora(name, tmp_path):
    with pytest.raises(
        ConversionError,
        match=rf"no.safetensors is no LoRA, or one of a kind.*Got {name}",
    ):
        read_lora(write(tmp_path / "no.safetensors", pair() | {name: torch.ones(2, 2)}))


def test_empty_missing_and_damaged_files(tmp_path):
    with pytest.raises(ConversionError, match="no LoRA.*no tensors"):
        read_lora(write(tmp_path / "empty.safetensors", {}))
    with pytest.raises(ConversionError, match="can't be read"):
        read_lora(tmp_path / "missing.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"PK\x03\x04 a pickle, in truth")
    with pytest.raises(ConversionError, match="no safetensors file"):
        read_lora(tmp_path / "damaged.safetensors")


def test_several_adapters_of_a_module(tmp_path):
    state = pair() | {"block.linear.lora_A.other.weight": torch.ones(2, 4)}
    with pytest.raises(ConversionError, match="several adapters of block.linear"):
        read_lora(write(tmp_path / "two.safetensors", state))


@pytest.mark.parametrize(
    "settings",
    [
        '{"lora_alpha": "much"}',
        '{"lora_alpha": NaN}',
        '{"lora_alpha": true}',
        '{"alpha_pattern": 3}',
        '{"use_dora": true}',
        "[]",
        "{",
    ],
)
def test_settings_that_can_not_be_used(settings, tmp_path):
    path = write(tmp_path / "odd.safetensors", pair(), {"lora_adapter_metadata": settings})
    with pytest.raises(ConversionError, match="can't be used|not read|no JSON"):
        read_lora(path)
    (tmp_path / "adapter_config.json").write_text(settings)
    with pytest.raises(ConversionError, match="adapter_config.json beside plain|DoRA"):
        read_lora(write(tmp_path / "plain.safetensors", pair()))


def test_values_that_are_not_finite(tiny, tmp_path):
    down = torch.ones(2, 4)
    down[0, 0] = float("nan")
    fused = fuse(tiny, [read_lora(write(tmp_path / "nan.safetensors", pair(down)))])
    assert fused.read("block.conv.weight").shape == (5, 3, 3, 3)
    with pytest.raises(ConversionError, match=r"block.linear.lora_A.weight of nan.safetensors holds NaN"):
        fused.read("block.linear.weight")
    huge = read_lora(write(tmp_path / "huge.safetensors", pair(torch.full((2, 4), 1e38), torch.full((6, 2), 1e38))))
    with pytest.raises(ConversionError, match="no longer finite with huge.safetensors"):
        fuse(tiny, [huge]).read("block.linear.weight")
    odd = pair() | {"block.linear.alpha": torch.tensor(float("inf"))}
    with pytest.raises(ConversionError, match="NaN or infinity"):
        read_lora(write(tmp_path / "alpha.safetensors", odd))
    odd = pair() | {"block.linear.alpha": torch.ones(2)}
    with pytest.raises(ConversionError, match="no single number"):
        read_lora(write(tmp_path / "alphas.safetensors", odd))


def test_integers_are_neither_added_nor_added_to(tiny, tmp_path):
    with pytest.raises(ConversionError, match="not of floats. Got I64"):
        read_lora(write(tmp_path / "whole.safetensors", pair(torch.ones(2, 4, dtype=torch.int64))))
    fused = fuse(tiny, [read_lora(write(tmp_path / "table.safetensors", pair(module="block.table")))])
    with pytest.raises(ConversionError, match="block.table.weight holds integers"):
        fused.read("block.table.weight")
