"""The LiteRT engine on tiny real files."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from tiny_tflite import COMPONENT, PHOTO, write_scale

from edge_runtime import plugins
from edge_runtime.engine import engine_for
from edge_runtime.errors import EngineError

ENGINE = plugins.load("engines", "litert")


@pytest.fixture
def file(tmp_path):
    return write_scale(tmp_path / "scale.tflite")


def photo(height, width):
    return {"photo": np.arange(height * width * 2, dtype=np.float32).reshape(1, height, width, 2)}


def test_it_is_the_engine_for_tflite():
    assert engine_for("tflite").name == "litert"
    assert engine_for("onnx").name == "onnxruntime"


@pytest.mark.parametrize("size", [(4, 4), (3, 4), (1, 1), (5, 2), (8, 6)])
def test_any_size_up_to_the_largest(file, size):
    with ENGINE.open(file, COMPONENT, threads=2) as session:
        scaled = session.run(photo(*size))["scaled"]
    # the graph was told the real height, not the one of its shape
    np.testing.assert_array_equal(scaled, photo(*size)["photo"] * size[0])


def test_a_result_stays_the_callers(file):
    with ENGINE.open(file, COMPONENT, threads=1) as session:
        first = session.run(photo(4, 4))["scaled"]
        kept = first.copy()
        session.run({"photo": np.zeros((1, 4, 4, 2), np.float32)})
    np.testing.assert_array_equal(first, kept)


def test_larger_than_every_size(file):
    with ENGINE.open(file, COMPONENT, threads=1) as session, pytest.raises(EngineError) as caught:
        session.run(photo(9, 2))
    assert "height 9, width 2" in str(caught.value) and "height 8, width 6" in str(caught.value)


def test_a_closed_session_does_not_run(file):
    session = ENGINE.open(file, COMPONENT, threads=1)
    session.close()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.run(photo(4, 4))


@pytest.mark.parametrize(
    "changed",
    [
        replace(COMPONENT, inputs=(replace(PHOTO, dtype="uint8"),)),
        replace(COMPONENT, inputs=(replace(PHOTO, name="picture"),)),
        replace(COMPONENT, inputs=(replace(PHOTO, shape=(1, "height", "width", 3)),)),
        replace(COMPONENT, inputs=(replace(PHOTO, shape=("height", "width", 2)),)),
    ],
)
def test_a_file_that_differs_from_the_manifest(file, changed):
    with pytest.raises(EngineError, match="differs from the manifest"):
        ENGINE.open(file, changed, threads=1)


def test_an_input_that_the_manifest_does_not_have(tmp_path):
    file = write_scale(tmp_path / "odd.tflite", told="secret")
    with pytest.raises(EngineError, match="secret"):
        ENGINE.open(file, COMPONENT, threads=1)


HEAD = b"\x1c\0\0\0TFL3"


@pytest.mark.parametrize("content", [b"", b"TFL3", HEAD, b"\x08\x03\x12\x07pytorch", b"\xff" * 4096, HEAD + b"\0" * 64])
def test_what_is_no_tflite_file(tmp_path, content):
    (tmp_path / "odd.tflite").write_bytes(content)
    with pytest.raises(EngineError):
        ENGINE.open(tmp_path / "odd.tflite", COMPONENT, threads=1)


def test_cut_files_are_refused(file, tmp_path):
    whole = file.read_bytes()
    for size in range(8, len(whole), 97):
        (tmp_path / "cut.tflite").write_bytes(whole[:size])
        with pytest.raises(EngineError):
            ENGINE.open(tmp_path / "cut.tflite", COMPONENT, threads=1)


def test_damage_is_found_before_the_library_sees_it(file):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    described = replace(COMPONENT, sha256=digest, bytes=file.stat().st_size)
    ENGINE.open(file, described, threads=1).close()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(EngineError, match="SHA-256"):
        ENGINE.open(file, described, threads=1)


def test_devices_and_threads(file):
    with pytest.raises(EngineError, match="cuda"):
        ENGINE.open(file, COMPONENT, threads=1, device="cuda")
    with pytest.raises(EngineError, match="threads"):
        ENGINE.open(file, COMPONENT, threads=0)
    with pytest.raises(EngineError, match="can't be read"):
        ENGINE.open(file.with_name("none.tflite"), COMPONENT, threads=1)
