"""Artifacts that hold Core ML packages: conversion, the manifest, and the engine that runs them for comparison."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import click.testing
import numpy as np
import pytest
from stand_ins import images, mask_component, text_component, texts, write_checkpoint

import converters.sources
from converters.cli import convert as command
from converters.convert import Request, convert
from converters.coreml_engine import ENGINE
from converters.source import run_module
from edge_runtime.artifact import Artifact
from edge_runtime.editor import Editor
from edge_runtime.engine import engine_for
from edge_runtime.errors import ArtifactError, EngineError, NanoedgeError

MODEL = "vision.mlpackage/Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "vision.mlpackage/Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Put the source `tiny` beside the project's own; returns its checkpoint."""
    folder = str(Path(__file__).parents[1] / "plugged")
    converters.sources.__path__.append(folder)
    yield write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors")
    converters.sources.__path__.remove(folder)


@pytest.fixture(scope="module")
def artifact(checkpoint, tmp_path_factory) -> Artifact:
    """The source `tiny` in int8. Read only."""
    destination = tmp_path_factory.mktemp("artifact") / "tiny"
    request = Request(source="tiny", target="coreml", recipe="int8", destination=destination, checkpoint=checkpoint)
    return convert(request).artifact


def opened(artifact: Artifact, name: str, **changes: object):
    component = replace(artifact.manifest.component(name), **changes)  # type: ignore[arg-type]
    return ENGINE.open(artifact.path(name), component, threads=1)


@pytest.mark.slow
def test_the_command_writes_an_artifact_and_times_nothing(checkpoint, tmp_path):
    arguments = ["tiny", "--to", "coreml", "--recipe", "fp16", "-o", tmp_path / "out", "--checkpoint", checkpoint]
    result = click.testing.CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exception is None, result.exception
    line = next(line for line in result.stdout.splitlines() if line.startswith("vision"))
    assert line.split()[1] == "fp16" and line.split()[3] == "-"
    assert Artifact.open(tmp_path / "out").manifest.recipe == "fp16"


def test_the_manifest_lists_every_file_of_a_package(artifact):
    manifest = artifact.manifest
    assert (manifest.target, manifest.recipe) == ("coreml", "int8")
    vision = manifest.component("vision")
    assert vision.file == "vision.mlpackage/Manifest.json" and vision.precision == "int8-fp16"
    assert [part.file for part in vision.data] == [MODEL, WEIGHTS]
    assert set(manifest.provenance["tools"]) == {"nanoedge", "torch", "coremltools"}
    assert "8-bit activations" in vision.note and not manifest.component("text").note
    listed = {artifact.folder / part.file for part in manifest.files} | {artifact.folder / "manifest.json"}
    assert {path for path in artifact.folder.rglob("*") if path.is_file()} == listed


@pytest.mark.parametrize("file", [MODEL, WEIGHTS])
def test_damage_inside_a_package_is_found(artifact, tmp_path, file):
    copy = Path(shutil.copytree(artifact.folder, tmp_path / "copy"))
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{Path(file).name} has the wrong SHA-256"):
        Artifact.open(copy)


def test_an_opened_package_computes_what_torch_computes(artifact):
    for source, inputs in ((mask_component(), images(9, 1)[0]), (text_component(), texts(9, 1)[0])):
        with opened(artifact, source.name) as session:
            found = session.run(inputs)
        for name, expected in run_module(source.module(), source, inputs).items():
            assert found[name].dtype == expected.dtype
            np.testing.assert_allclose(found[name], expected, atol=0.05)


def test_inputs_that_do_not_fit_are_refused(artifact):
    with opened(artifact, "vision") as session, pytest.raises(EngineError, match="wrong dtype or shape"):
        session.run({"image": images(9, 1)[0]["image"].astype(np.float32)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ()}, "Vision is not a Core ML package.*Manifest.json with Data/com.apple.CoreML/model.mlmodel"),
        ({"file": "vision.onnx", "data": ()}, "Vision is not a Core ML package. Got vision.onnx"),
        ({"inputs": ()}, "inputs of vision differ from the manifest. Got image"),
    ],
)
def test_what_the_manifest_does_not_describe_is_not_opened(artifact, changes, message):
    with pytest.raises(EngineError, match=message):
        opened(artifact, "vision", **changes)


def test_other_devices_are_refused(artifact):
    with pytest.raises(EngineError, match="runs on the CPU. Got cuda"):
        ENGINE.open(artifact.path("vision"), artifact.manifest.component("vision"), threads=1, device="cuda")


def test_a_damaged_package_is_named(artifact, tmp_path):
    copy = Path(shutil.copytree(artifact.folder, tmp_path / "copy"))
    (copy / MODEL).write_bytes(b"not protobuf at all")
    with pytest.raises(EngineError, match="package of vision can.t be opened.*ision.mlpackage is not a Core ML"):
        ENGINE.open(copy / "vision.mlpackage/Manifest.json", artifact.manifest.component("vision"), threads=1)


def test_edits_refuse_it_and_say_what_to_do(artifact):
    with pytest.raises(EngineError, match="Got coreml.*runs on Apple devices.*nanoedge compare checks it here"):
        engine_for("coreml")
    with pytest.raises(NanoedgeError, match="runs on Apple devices"):
        Editor.open(artifact.folder)
