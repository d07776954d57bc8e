"""nano-banana as TFLite, whole: converted by the command, edited with, served, and held to the ONNX artifact."""

import base64
import os
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from converters import compare as comparison
from converters.calibration import load_calibration
from converters.cli import convert
from converters.component import convert_component
from converters.recipe import load_recipe
from converters.sources.nano_banana import SOURCE
from converters.targets.tflite import TARGET
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED
from server.app import create_app
from server.config import ServerConfig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
LEAST_MEAN_DB = 38.0
INT4_SHARE = 0.35
INSTRUCTIONS = ("warmer", "blur the background", "sharpen and add grain", "remove the noise")


@pytest.fixture(scope="module")
def int8(tmp_path_factory) -> Path:
    """What `make bundles` converted where it ran before, or the same made here."""
    made = Path(os.environ.get("NANOEDGE_BUNDLES", "")) / "nano-tflite"
    if "NANOEDGE_BUNDLES" in os.environ and made.is_dir():
        return made
    output = tmp_path_factory.mktemp("converted") / "nano-tflite"
    result = CliRunner().invoke(convert, ["nano-banana", "--to", "tflite", "-o", str(output)])
    assert result.exception is None, result.output
    return output


def test_it_makes_the_pictures_that_onnx_makes(int8):
    photos = comparison.load_suite(None, None, 20).photos[::7]
    suite = comparison.Suite(photos=photos, instructions=INSTRUCTIONS)
    _, pairs = comparison.compare([EMBEDDED, int8], suite, lambda done, total: None)
    assert pairs[0].mean_db >= LEAST_MEAN_DB, pairs[0]


def test_the_same_layers_have_the_same_bits(int8):
    first, second = (Artifact.open(folder).manifest for folder in (EMBEDDED, int8))
    assert [(part.name, part.precision) for part in first.components] == [
        (part.name, part.precision) for part in second.components
    ]


def test_the_server_serves_it(int8):
    app = create_app(config=ServerConfig(models=(int8,)))
    buffer = BytesIO()
    Image.fromarray(comparison.load_suite(None, None, 1).photos[0]).save(buffer, "PNG")
    buffer.seek(0)
    form = {"image": (buffer, "photo.png"), "prompt": "sepia", "model": int8.name}
    response = app.test_client().post("/v1/images/edits", data=form)
    assert response.status_code == 200, response.text
    Image.open(BytesIO(base64.b64decode(response.json["data"][0]["b64_json"]))).load()


def test_four_bits_take_what_they_should(tmp_path):
    """Of the graphs that have layers for 4 bits; the others are those of the int8 artifact."""
    found, recipe = [], load_recipe("int4").without_rows()
    for component in SOURCE.open(SOURCE.default_checkpoint, load_calibration(None)).components:
        if component.name in ("text", "restore"):
            found.append(convert_component(component, TARGET, recipe, tmp_path, lambda line: None).quality())
    parameters, size = (sum(each[f"int4_{what}"] for each in found) for what in ("parameters", "bytes"))
    assert size <= INT4_SHARE * 4 * parameters
