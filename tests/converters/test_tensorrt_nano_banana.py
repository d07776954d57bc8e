"""nano-banana for TensorRT, whole: converted by the command, held to the ONNX artifact, read by NVIDIA's parser."""

from pathlib import Path

import nvidia
import pytest
from click.testing import CliRunner

from converters import compare as comparison
from converters.cli import convert
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.errors import EngineError
from edge_runtime.request import EditRequest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
LEAST_MEAN_DB = 38.0
INT4_SHARE = 0.35
INSTRUCTIONS = ("warmer", "blur the background", "sharpen and add grain", "remove the noise")
BUILT = ("fp32", "fp16")


def converted(folder: Path, recipe: str) -> Path:
    output = folder / f"nano-{recipe}"
    result = CliRunner().invoke(convert, ["nano-banana", "--to", "tensorrt", "--recipe", recipe, "-o", str(output)])
    assert result.exception is None, result.output
    return output


@pytest.fixture(scope="module")
def int8(tmp_path_factory) -> Path:
    return converted(tmp_path_factory.mktemp("int8"), "int8")


@pytest.fixture(scope="module")
def int4(tmp_path_factory) -> Path:
    return converted(tmp_path_factory.mktemp("int4"), "int4")


def test_it_makes_the_pictures_that_onnx_makes(int8):
    photos = comparison.load_suite(None, None, 20).photos[::7]
    suite = comparison.Suite(photos=photos, instructions=INSTRUCTIONS)
    sides, pairs = comparison.compare([EMBEDDED, int8], suite, lambda done, total: None)
    assert [side.engine for side in sides] == ["onnxruntime", "typed_graphs"]
    assert pairs[0].mean_db >= LEAST_MEAN_DB, pairs[0]


def test_the_same_layers_have_the_same_bits(int8):
    first, second = (Artifact.open(folder).manifest for folder in (EMBEDDED, int8))
    weights = [(part.name, part.precision.removesuffix("-fp16")) for part in second.components]
    assert weights == [(part.name, part.precision) for part in first.components]


def test_without_a_gpu_no_edit_is_served(int8):
    with Editor.open(int8) as editor, pytest.raises(EngineError, match="TensorRT is not installed"):
        editor.edit(EditRequest(image=Path("edge_runtime/golden_photo.png").read_bytes(), instruction="warmer"))


def test_four_bits_take_what_they_should(int4):
    manifest = Artifact.open(int4).manifest
    found = {name: figures for name, figures in manifest.quality.items() if "int4_bytes" in figures}
    assert set(found) == {"text", "restore"}
    parameters, size = (sum(each[f"int4_{what}"] for each in found.values()) for what in ("parameters", "bytes"))
    assert size <= INT4_SHARE * 4 * parameters


@pytest.mark.parametrize("recipe", ["int8", "int4"])
def test_nvidias_parser_reads_every_graph_and_its_builder_builds_those_without_integers(request, nvidia_python, recipe):
    folder = request.getfixturevalue(recipe)
    for part in Artifact.open(folder).manifest.components:
        place = (folder / part.file).parent
        assert nvidia.blocks_read(nvidia_python, place, built=part.precision in BUILT) == 1
