"""The driver for large models: resuming, progress, disk, and every checkpoint that can't be converted."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny.flux_kontext import build

from converters import pipeline
from converters.job import recognise
from converters.pipeline import PipelineRequest, convert_pipeline, plan
from edge_runtime.artifact import Artifact
from edge_runtime.errors import ConversionError, NanoedgeError, OptionError

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kontext")
    build(folder)
    tensors = {}
    for part in sorted((folder / "transformer").glob("*.safetensors*")):
        tensors.update(load_file(part) if part.suffix == ".safetensors" else {})
        part.unlink()
    save_file(tensors, folder / TRANSFORMER)
    return folder


def command(checkpoint: Path, out: Path, *options: str) -> list[str]:
    script = "from edge_runtime.cli import main; main()"
    return [sys.executable, "-c", script, "convert", str(checkpoint), "--recipe", "int4", "-o", str(out), *options]


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*"))}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_ten_moments_it_ends_in_the_same_bytes(checkpoint, tmp_path):
    started = time.monotonic()
    subprocess.run(command(checkpoint, tmp_path / "whole"), check=True, capture_output=True)
    whole = time.monotonic() - started
    rng = random.Random(0)
    kills = resumed = 0
    while kills < 10:
        process = subprocess.Popen(
            command(checkpoint, tmp_path / "killed"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        try:
            _, told = process.communicate(timeout=rng.uniform(0.1, 0.5) * whole)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            _, told = process.communicate()
            kills += 1
        resumed += "done by an earlier run" in told
        assert process.returncode in (0, -signal.SIGKILL), told
        if (tmp_path / "killed").exists():  # it was done before the moment came: once more, and kill that too
            assert content(tmp_path / "killed") == content(tmp_path / "whole")
            shutil.rmtree(tmp_path / "killed")
    last = subprocess.run(command(checkpoint, tmp_path / "killed"), capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert resumed, "no run went on from another's components"
    assert not list(tmp_path.glob(".*")), "work folders are left"


@pytest.mark.slow
def test_the_command_converts_plans_and_verifies(checkpoint, tmp_path):
    out = tmp_path / "artifact"
    planned = subprocess.run([*command(checkpoint, out), "--plan"], check=True, capture_output=True, text=True)
    assert "denoiser" in planned.stdout and "peak memory" in planned.stdout and not out.exists()
    done = subprocess.run(command(checkpoint, out), check=True, capture_output=True, text=True)
    assert "parameters" in done.stderr and "/s" in done.stderr
    artifact = Artifact.open(out)
    assert artifact.manifest.family == "flux-kontext" and artifact.manifest.recipe == "int4"
    sizes = {part.name: part.total_bytes for part in artifact.manifest.components}
    said = json.loads(json.dumps(plan(PipelineRequest(checkpoint=str(checkpoint), destination=out, recipe="int4"))))
    for part in said["components"]:  # graphs of tiny models weigh more than their weights: data alone
        written = artifact.manifest.component(part["name"])
        assert sum(data.bytes for data in written.data) == pytest.approx(part["bytes"], rel=0.25), part
        assert sizes[part["name"]] > 0
    from edge_runtime.inspection import require, verify

    require(verify(artifact))


def damaged(source: Path, target: Path, change) -> str:
    shutil.copytree(source, target)
    change(target)
    return str(target)


def drop_shard(folder: Path) -> None:
    tensors = load_file(folder / TRANSFORMER)
    half = len(tensors) // 2
    names = list(tensors)
    stem = folder / "transformer/diffusion_pytorch_model"
    save_file({name: tensors[name] for name in names[:half]}, f"{stem}-00001-of-00002.safetensors")
    files = [f"diffusion_pytorch_model-0000{place}-of-00002.safetensors" for place in (1, 2)]
    index = {name: files[i >= half] for i, name in enumerate(names)}
    Path(f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / TRANSFORMER).unlink()


def truncate(folder: Path) -> None:
    os.truncate(folder / TRANSFORMER, (folder / TRANSFORMER).stat().st_size // 2)


def changed(change):
    def apply(folder: Path) -> None:
        tensors = load_file(folder / TRANSFORMER)
        change(tensors)
        save_file(tensors, folder / TRANSFORMER)

    return apply


NAME = "transformer_blocks.0.attn.to_q.weight"


def misshape(tensors) -> None:
    tensors[NAME] = np.ascontiguousarray(tensors[NAME][:-32])


def rename(tensors) -> None:
    tensors["transformer_blocks.0.attn.to_quack.weight"] = tensors.pop(NAME)


def poison(value):
    def apply(tensors) -> None:
        tensors[NAME][0, 0] = value

    return apply


def pipeline_class(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableCascadePipeline"}))


def strip_configuration(folder: Path) -> None:
    path = folder / "text_encoder/config.json"
    config = json.loads(path.read_text())
    del config["hidden_size"]
    path.write_text(json.dumps(config))


BAD = {
    "missing shard": (drop_shard, "00002-of-00002"),
    "truncated shard": (truncate, "truncated"),
    "wrong shape": (changed(misshape), NAME),
    "wrong name": (changed(rename), NAME),
    "NaN": (changed(poison(np.nan)), "NaN or infinity"),
    "infinity": (changed(poison(np.inf)), "NaN or infinity"),
    "unknown family": (pipeline_class, "StableCascadePipeline"),
    "configuration": (strip_configuration, "can't be used. Got KeyError: 'hidden_size'"),
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "model_index.json"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", BAD)
def test_a_bad_checkpoint_is_named_and_nothing_is_left(checkpoint, tmp_path, fault):
    change, said = BAD[fault]
    bad = damaged(checkpoint, tmp_path / "bad", change)
    with pytest.raises(ConversionError, match=said.replace(".", r"\.")):
        convert_pipeline(PipelineRequest(checkpoint=bad, destination=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_output_that_exists_is_refused_at_once(checkpoint, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OptionError, match="exists already"):
        convert_pipeline(PipelineRequest(checkpoint=str(checkpoint), destination=tmp_path / "out"))


@pytest.mark.slow
def test_too_little_disk_is_said_before_anything_is_written(checkpoint, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ConversionError, match="too little disk"):
        convert_pipeline(PipelineRequest(checkpoint=str(checkpoint), destination=tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_lora_of_another_model_is_refused(checkpoint, tmp_path):
    lora = tmp_path / "lora.safetensors"
    ones = np.ones((4, 8), np.float32)
    pair = {"lora_A": ones, "lora_B": ones.T.copy()}
    save_file({f"transformer.no.such.layer.{side}.weight": value for side, value in pair.items()}, lora)
    request = PipelineRequest(checkpoint=str(checkpoint), destination=tmp_path / "out", loras=(str(lora),))
    with pytest.raises(NanoedgeError, match=r"no\.such\.layer"):
        convert_pipeline(request)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_conversions_to_one_place_don_t_mix(checkpoint, tmp_path):
    first = subprocess.Popen(command(checkpoint, tmp_path / "out"), stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    for line in first.stderr:  # until it works inside the work folder
        if "[1/" in line:
            break
    with pytest.raises(ConversionError, match="nother process"):
        convert_pipeline(PipelineRequest(checkpoint=str(checkpoint), destination=tmp_path / "out", recipe="int4"))
    first.communicate()
    assert first.returncode == 0 and Artifact.open(tmp_path / "out")


def test_an_unknown_pipeline_lists_those_that_are_known():
    with pytest.raises(ConversionError, match="FluxKontextPipeline"):
        recognise("WuerstchenPipeline")
