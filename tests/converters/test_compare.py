"""`nanoedge compare` over real artifacts of the embedded model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from converters import compare as comparison
from converters.compare_cli import compare
from edge_runtime.canonical_json import decode, encode
from edge_runtime.editor import EMBEDDED
from edge_runtime.errors import EngineError, MissingExtraError, OptionError


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    picture = comparison.bundled_photographs().comparison[0]
    for index in range(3):
        Image.fromarray(picture[40 * index : 40 * index + 96, :128]).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def suite(photos) -> comparison.Suite:
    return comparison.Suite(photos=comparison.load_suite(photos, None, 2).photos, instructions=("warmer", "sepia"))


@pytest.fixture
def copied(tmp_path) -> Path:
    shutil.copytree(EMBEDDED, tmp_path / "copy")
    return tmp_path / "copy"


def changed(folder: Path, **members: object) -> Path:
    data = decode((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_bytes(encode({**data, **members}))
    return folder


def test_equal_artifacts_make_equal_pictures(suite, copied):
    seen = []
    sides, pairs = comparison.compare([EMBEDDED, copied], suite, lambda done, total: seen.append((done, total)))
    assert [(pair.mean_db, pair.least_db) for pair in pairs] == [(comparison.EQUAL_DB,) * 2]
    assert seen == [(done, 4) for done in range(5)]
    assert [side.name for side in sides] == ["nano-banana", "copy"]
    assert sides[0].total_bytes == sum(path.stat().st_size for path in EMBEDDED.glob("*.onnx"))


def test_different_pictures_are_told_apart():
    picture = np.full((8, 8, 3), 100, np.uint8)
    assert comparison.likeness_db(picture, picture + 1) == pytest.approx(48.13, abs=0.01)
    assert comparison.likeness_db(picture, picture[:4]) == 0.0


def test_the_command_prints_tables_and_json(photos, copied):
    arguments = [str(EMBEDDED), str(copied), "--photos", str(photos), "--count", "1"]
    result = CliRunner().invoke(compare, arguments)
    assert result.exit_code == 0, result.output
    assert "1 photographs, 10 instructions" in result.stdout and "60.0" in result.stdout
    found = json.loads(CliRunner().invoke(compare, [*arguments, "--json"]).stdout)
    assert [pair["mean_db"] for pair in found["pairs"]] == [60.0]
    assert found["artifacts"][0]["target"] == "onnx"
    assert found["artifacts"][0]["engine"] == "onnxruntime" and "run by" in result.stdout


def test_one_artifact_is_no_comparison():
    assert isinstance(CliRunner().invoke(compare, [str(EMBEDDED)]).exception, OptionError)
    with pytest.raises(OptionError, match="twice"):
        comparison.unique_names([EMBEDDED, EMBEDDED])


def test_names_tell_artifacts_apart(tmp_path):
    assert comparison.unique_names([tmp_path / "a" / "nano", tmp_path / "b" / "nano"]) == ["a/nano", "b/nano"]


def test_an_artifact_of_the_wrong_format(copied):
    """ONNX files under a manifest that says TFLite: one error, before a library sees them."""
    with comparison.open_editor(changed(copied, target="tflite")) as editor, pytest.raises(EngineError) as caught:
        editor.plan("warmer")
    assert "not a TFLite file" in str(caught.value)


def test_a_target_that_nothing_here_runs(copied):
    with pytest.raises((EngineError, MissingExtraError), match="abacus"):
        comparison.open_editor(changed(copied, target="abacus"))


def test_the_bundled_suite_has_twenty_photographs_and_ten_instructions():
    suite = comparison.load_suite(None, None, 20)
    assert (len(suite.photos), len(suite.instructions)) == (20, 10)


def test_a_folder_without_photographs(tmp_path):
    with pytest.raises(OptionError, match="no photographs"):
        comparison.load_suite(tmp_path, None, 20)


def test_instructions_must_be_texts(tmp_path):
    (tmp_path / "odd.json").write_text("[1]")
    with pytest.raises(OptionError, match="list of texts"):
        comparison.load_suite(None, tmp_path / "odd.json", 20)


def test_what_checks_an_artifact_is_told_from_what_serves_it():
    assert comparison.engine_of("tensorrt").name == "typed_graphs"
    assert comparison.engine_of("tensorrt", served=True).name == "tensorrt"
    assert comparison.engine_of("onnx").name == comparison.engine_of("onnx", served=True).name == "onnxruntime"
