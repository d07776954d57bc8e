"""DreamLite for TensorRT on a tiny checkpoint: typed, cut into blocks, and held to its ONNX artifact."""

from io import BytesIO
from pathlib import Path

import numpy as np
import nvidia
import pytest
from PIL import Image
from tiny.artifact import converted
from tiny.dreamlite import build

from converters.calibration import bundled_photographs
from converters.compare import likeness_db, open_editor
from converters.pipeline import PipelineRequest, convert_pipeline
from converters.slabs import decibels
from converters.tensorrt_engine import ENGINE
from edge_runtime.artifact import Artifact
from edge_runtime.blocks import read_blocks
from edge_runtime.engine import engine_for
from edge_runtime.inspection import EXAMPLE_SIZES, example_inputs
from edge_runtime.request import EditRequest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
BLOCK_BYTES = 1 << 20
LEAST_DB = 38.0
LEAST_SNR_DB = {"fp16": 40.0, "int8": 20.0}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory) -> dict[str, Path]:
    """The ONNX artifact in float, and two for TensorRT, cut into blocks of a mebibyte."""
    folder = tmp_path_factory.mktemp("dreamlite")
    build(folder / "checkpoint")
    made = {"onnx": converted(folder / "checkpoint", folder / "onnx")["fp32"]}
    for recipe in ("fp16", "int8"):
        request = PipelineRequest(
            checkpoint=str(folder / "checkpoint"), destination=folder / recipe, recipe=recipe, target="tensorrt",
            block_bytes=BLOCK_BYTES, measured=True,
        )  # fmt: skip
        convert_pipeline(request)
        made[recipe] = folder / recipe
    return made


def edited(folder: Path) -> np.ndarray:
    buffer = BytesIO()
    Image.fromarray(bundled_photographs().comparison[0][:128, :128]).save(buffer, "PNG")
    with open_editor(folder) as editor:
        result = editor.edit(EditRequest(image=buffer.getvalue(), instruction="make it snowy", seed=3, steps=2))
    return np.asarray(Image.open(BytesIO(result.image)).convert("RGB"))


def test_it_paints_what_the_onnx_artifact_paints(artifacts):
    assert likeness_db(edited(artifacts["onnx"]), edited(artifacts["fp16"])) >= LEAST_DB


@pytest.mark.parametrize("recipe", ["fp16", "int8"])
def test_every_part_agrees_with_its_onnx_graph(artifacts, recipe):
    plain, typed = (Artifact.open(artifacts[name]) for name in ("onnx", recipe))
    onnx = engine_for("onnx")
    for part in plain.manifest.components:
        if not part.inputs:
            continue
        inputs = example_inputs(part, typed.manifest.settings[EXAMPLE_SIZES][part.name])
        with onnx.open(plain.path(part.name), part, threads=2) as session:
            expected = session.run(inputs)
        with ENGINE.open(typed.path(part.name), typed.manifest.component(part.name), threads=2) as session:
            found = session.run(inputs)
        for name, array in expected.items():
            lost = np.square(found[name] - array.astype(np.float64)).sum()
            assert decibels(float(np.square(array, dtype=np.float64).sum()), float(lost)) >= LEAST_SNR_DB[recipe], name


def test_the_unet_is_cut_into_blocks_that_nvidias_parser_reads_and_builds(artifacts, nvidia_python):
    artifact = Artifact.open(artifacts["fp16"])
    part = artifact.manifest.component("denoiser")
    blocks = read_blocks(artifact.path("denoiser"), part)
    assert len(blocks) > 1 and part.precision == "fp16"
    for component in artifact.manifest.components:
        if component.inputs:
            nvidia.blocks_read(nvidia_python, artifact.path(component.name).parent, built=True)


def test_integers_are_read_by_nvidias_parser(artifacts, nvidia_python):
    artifact = Artifact.open(artifacts["int8"])
    for component in artifact.manifest.components:
        if component.inputs:
            nvidia.blocks_read(nvidia_python, artifact.path(component.name).parent, built=False)
