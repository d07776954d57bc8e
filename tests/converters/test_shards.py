"""Reading checkpoints: real safetensors files of every dtype, and every way in which they can be damaged."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from converters.shards import open_shards, renamed, under
from edge_runtime.errors import ConversionError

PLAIN = "diffusion_pytorch_model.safetensors"
FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
WHOLE = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)


def private_bytes() -> int:
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def write_raw(path: Path, entries: object, data: bytes = b"") -> Path:
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


@pytest.fixture
def sharded(tmp_path) -> Path:
    """A folder with three shards and an index; tensor `NUMBER.weight` stands in shard NUMBER."""
    weight_map = {}
    for number in (1, 2, 3):
        name = f"diffusion_pytorch_model-0000{number}-of-00003.safetensors"
        save_file({f"{number}.weight": torch.full((2, 3), float(number))}, tmp_path / name)
        weight_map[f"{number}.weight"] = name
    (tmp_path / f"{PLAIN}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return tmp_path


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_come_exactly_as_float32(dtype, tmp_path):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(700, 500, generator=generator) * torch.logspace(-6, 4, 500)
    tensor = values.clamp(-60000, 60000).to(FLOATS[dtype])
    tensor[0, :4] = torch.tensor([0.0, -0.0, 1e-7, -1.0])
    save_file(
        {"a": torch.ones(3), "w": tensor, "scalar": tensor[3, 3].clone(), "empty": tensor[:0].clone()}, tmp_path / PLAIN
    )
    shards = open_shards(tmp_path)
    read = shards.read("w")
    assert read.dtype == np.float32 and read.flags.owndata and read.flags.writeable and read.flags.c_contiguous
    assert read.tobytes() == tensor.float().numpy().tobytes()
    assert shards.read("scalar") == tensor[3, 3].float().item() and shards.read("scalar").shape == ()
    assert shards.read("empty").shape == (0, 500)
    assert (shards.shape("w"), shards.dtype("w"), shards.parameters("w")) == ((700, 500), dtype, 350_000)
    assert shards.stored_bytes("w") == 350_000 * tensor.element_size()


def test_every_bfloat16_and_float16_pattern(tmp_path):
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    tensors = {str(dtype): patterns.view(dtype) for dtype in (torch.bfloat16, torch.float16)}
    finite = {name: tensor[tensor.isfinite()].clone() for name, tensor in tensors.items()}
    save_file(finite, tmp_path / PLAIN)
    shards = open_shards(tmp_path)
    for name, tensor in finite.items():
        assert shards.read(name).tobytes() == tensor.float().numpy().tobytes()


@pytest.mark.parametrize("dtype", WHOLE)
def test_integers_and_booleans_keep_their_dtype(dtype, tmp_path):
    tensor = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    save_file({"w": tensor}, tmp_path / "model.safetensors")
    read = open_shards(tmp_path).read("w")
    assert read.dtype == tensor.numpy().dtype
    np.testing.assert_array_equal(read, tensor.numpy())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", FLOATS)
def test_values_that_are_not_finite_are_refused(value, dtype, tmp_path):
    tensor = torch.zeros(600, 1000, dtype=FLOATS[dtype])
    tensor[599, 999] = value
    save_file({"fine": torch.ones(2), "block.weight": tensor}, tmp_path / PLAIN)
    shards = open_shards(tmp_path)
    assert shards.read("fine").sum() == 2
    with pytest.raises(ConversionError, match=rf"ensor block\.weight of {PLAIN} holds NaN or infinity"):
        shards.read("block.weight")


def test_float64_beyond_float32_is_refused(tmp_path):
    save_file({"w": torch.tensor([1e300], dtype=torch.float64)}, tmp_path / PLAIN)
    with pytest.raises(ConversionError, match="NaN or infinity"):
        open_shards(tmp_path).read("w")


def test_shards_are_one_component(sharded):
    shards = open_shards(sharded)
    assert shards.names == ("1.weight", "2.weight", "3.weight")
    assert len(shards.files) == 3
    assert [shards.read(name)[0, 0] for name in shards.names] == [1, 2, 3]


def test_private_memory_does_not_grow_with_the_file(tmp_path):
    tensors = {f"{number}.weight": torch.zeros(5_000_000, dtype=torch.bfloat16) for number in range(30)}
    save_file(tensors, tmp_path / PLAIN)
    del tensors
    assert (tmp_path / PLAIN).stat().st_size > 300_000_000
    before = private_bytes()
    shards = open_shards(tmp_path)
    peak = 0
    for name in shards.names:
        array = shards.read(name)
        peak = max(peak, private_bytes() - before)
        assert array[-1] == 0
        del array
    assert peak < 30_000_000  # one tensor in float32 has 20 MB, all of them 600 MB


def test_a_missing_shard_is_named(sharded):
    (sharded / "diffusion_pytorch_model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ConversionError, match=r"Shards are missing.*1 of 3: diffusion_pytorch_model-00002-of-00003"):
        open_shards(sharded)


def test_a_truncated_shard_is_named(sharded):
    shard = sharded / "diffusion_pytorch_model-00003-of-00003.safetensors"
    content = shard.read_bytes()
    for length in (len(content) - 1, 40):
        shard.write_bytes(content[:length])
        with pytest.raises(ConversionError, match=rf"00003-of-00003.safetensors is truncated. Got {length} bytes"):
            open_shards(sharded)
    for length in (0, 7):
        shard.write_bytes(content[:length])
        with pytest.raises(ConversionError, match="00003-of-00003.safetensors is no safetensors file, or damaged"):
            open_shards(sharded)


def test_a_shard_that_shrinks_later_is_an_error_and_no_crash(sharded):
    shards = open_shards(sharded)
    shard = sharded / "diffusion_pytorch_model-00003-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(ConversionError, match="changed while they were read"):
        shards.read("3.weight")


F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("entries", "data"),
    [
        (b"{not json", b""),
        (b'{"a": 1}', b""),
        (b"[]", b""),
        (b"[" * 100_000, b""),
        (b'{"w": %s, "w": %s}' % (2 * (json.dumps(F32).encode(),)), b"1234"),
        ({"w": {**F32, "shape": [2]}}, b"1234"),
        ({"w": {**F32, "shape": [-1]}}, b"1234"),
        ({"w": {**F32, "shape": [1.0]}}, b"1234"),
        ({"w": {**F32, "shape": 1}}, b"1234"),
        ({"w": {**F32, "data_offsets": [4, 8]}}, b"12345678"),
        ({"w": {**F32, "data_offsets": [-4, 0]}}, b"1234"),
        ({"w": {**F32, "data_offsets": [0]}}, b"1234"),
        ({"v": F32, "w": F32}, b"1234"),
        ({"w": F32}, b"12345"),
        ({"w": F32, "__metadata__": {"a": 1}}, b"1234"),
        ({"w": F32, "__metadata__": "a"}, b"1234"),
    ],
)  # fmt: skip
def test_damaged_headers(entries, data, tmp_path):
    write_raw(tmp_path / PLAIN, entries, data)
    with pytest.raises(ConversionError, match="no safetensors file, or damaged"):
        open_shards(tmp_path)


def test_a_header_longer_than_allowed_is_not_read(tmp_path):
    (tmp_path / PLAIN).write_bytes((200_000_000).to_bytes(8, "little") + b"{}")
    with pytest.raises(ConversionError, match="damaged"):
        open_shards(tmp_path)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F4", "C64", "unheard", None, ["F32"]])
def test_other_dtypes_are_refused(dtype, tmp_path):
    write_raw(tmp_path / PLAIN, {"w": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4]}}, b"1234")
    with pytest.raises(ConversionError, match="Tensor w of diff.* is of a dtype that is not read.*Allowed: F64, F32"):
        open_shards(tmp_path)


def test_real_fp8_is_refused(tmp_path):
    save_file({"w": torch.ones(4).to(torch.float8_e4m3fn)}, tmp_path / PLAIN)
    with pytest.raises(ConversionError, match="F8_E4M3.*Take the bf16"):
        open_shards(tmp_path)


def test_a_tensor_that_only_the_index_has(sharded):
    index = sharded / f"{PLAIN}.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["extra.bias"] = "diffusion_pytorch_model-00001-of-00003.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(ConversionError, match=r"00001-of-00003.safetensors lacks tensors.*1: extra\.bias"):
        open_shards(sharded)


def test_a_tensor_in_two_shards(sharded):
    names = {"1.weight": torch.zeros(1), "2.weight": torch.zeros(1)}
    save_file(names, sharded / "diffusion_pytorch_model-00002-of-00003.safetensors")
    with pytest.raises(ConversionError, match=r"Tensor 1\.weight stands in two files.*00001-of.*00002-of"):
        open_shards(sharded)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": ["b"]}}', "\xff"])
def test_damaged_indexes(content, sharded):
    (sharded / f"{PLAIN}.index.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConversionError, match="index.*can't be read"):
        open_shards(sharded)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "weights.bin", ""])
def test_an_index_can_not_point_elsewhere(name, sharded):
    (sharded / f"{PLAIN}.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(ConversionError, match="names a file that is none of its own"):
        open_shards(sharded)


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        (["diffusion_pytorch_model.bin", "config.json"], "Pickled weights"),
        (["model-00001-of-00002.safetensors"], "The shards lack their index"),
        (["config.json"], "Download the component's weights"),
        ([], "Download the component's weights"),
    ],
)
def test_no_weights(files, hint, tmp_path):
    for name in files:
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ConversionError, match=f"has no safetensors weights.*{hint}"):
        open_shards(tmp_path)


def test_an_unreadable_file(tmp_path):
    (tmp_path / PLAIN).mkdir()
    with pytest.raises(ConversionError, match="can't be read"):
        open_shards(tmp_path)


@pytest.mark.parametrize(
    ("variants", "taken"),
    [
        (["", "fp16", "bf16"], ""), (["fp16", "bf16"], "bf16"), (["non_ema", "fp16"], "fp16"), (["non_ema"], "non_ema"),
    ],
)  # fmt: skip
def test_variants_are_taken_when_nothing_else_is_there(variants, taken, tmp_path):
    for variant in variants:
        save_file({variant or "plain": torch.ones(1)}, tmp_path / f"model{variant and '.'}{variant}.safetensors")
    assert open_shards(tmp_path).names == (taken or "plain",)


@pytest.mark.parametrize("index", ["model.safetensors.index.fp16.json", "model.fp16.safetensors.index.json"])
def test_indexes_of_variants(index, tmp_path):
    shard = "model.fp16-00001-of-00001.safetensors"
    save_file({"w": torch.ones(1)}, tmp_path / shard)
    (tmp_path / index).write_text(json.dumps({"weight_map": {"w": shard}}))
    assert open_shards(tmp_path).names == ("w",)


def test_unclear_files_are_refused_and_one_of_any_name_is_taken(tmp_path):
    save_file({"w": torch.ones(1)}, tmp_path / "one.safetensors")
    assert open_shards(tmp_path).names == ("w",)
    save_file({"w": torch.ones(1)}, tmp_path / "two.safetensors")
    with pytest.raises(ConversionError, match="not clear.*one.safetensors, two.safetensors"):
        open_shards(tmp_path)


def test_unknown_names_list_what_is_like_them(sharded):
    shards = open_shards(sharded)
    for ask in (shards.read, shards.shape, shards.dtype, shards.parameters, shards.stored_bytes):
        with pytest.raises(ConversionError, match=r"no tensor 2\.bias. Allowed: 2\.weight"):
            ask("2.bias")


def test_views_under_other_names(sharded):
    view = renamed(open_shards(sharded), lambda name: None if name[0] == "2" else f"model.{name}")
    assert view.names == ("model.1.weight", "model.3.weight")
    assert view.shape("model.3.weight") == (2, 3) and view.read("model.3.weight")[0, 0] == 3
    for ask in (view.read, view.shape):
        with pytest.raises(ConversionError, match="no tensor 3.weight"):
            ask("3.weight")
    inner = under(renamed(view, lambda name: name if "1" in name else f"other.{name}"), "model.")
    assert inner.names == ("1.weight",) and inner.read("1.weight")[0, 0] == 1
    with pytest.raises(ConversionError, match=r"would be named same. Got 1\.weight, 2\.weight"):
        renamed(open_shards(sharded), lambda name: "same")


def test_the_digest_is_of_the_content(sharded, tmp_path):
    digest = open_shards(sharded).digest()
    assert re.fullmatch("[0-9a-f]{64}", digest)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in sharded.glob("*.*"):
        (copy / file.name).write_bytes(file.read_bytes())
    assert open_shards(copy).digest() == digest
    shard = copy / "diffusion_pytorch_model-00001-of-00003.safetensors"
    save_file({"1.weight": torch.full((2, 3), 1.5)}, shard)
    assert open_shards(copy).digest() != digest


def test_the_digest_samples_large_files_everywhere(tmp_path):
    tensor = torch.zeros(4_000_000)
    save_file({"w": tensor}, tmp_path / PLAIN)
    digests = {open_shards(tmp_path).digest()}
    for start in (0, 2_000_000, 3_900_000):  # a change as large as one of a hundred layers
        tensor[start : start + 100_000] = 1
        save_file({"w": tensor}, tmp_path / PLAIN)
        digests.add(open_shards(tmp_path).digest())
    assert len(digests) == 4
