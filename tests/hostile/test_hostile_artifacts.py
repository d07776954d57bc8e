"""Artifacts made to harm: each is refused with an ArtifactError that says what is wrong, fast and in little memory."""

import hashlib
import json
import os
import shutil
import socket
import sys
import time
import tracemalloc

import pytest

from edge_runtime.artifact import Artifact
from edge_runtime.canonical_json import CONTROL_CHARACTER
from edge_runtime.errors import ArtifactError
from edge_runtime.manifest import Manifest

GRAPH = b"a graph"
DIGEST = hashlib.sha256(GRAPH).hexdigest()


def part(**changes):
    values = {"name": "vision", "file": "vision.onnx", "sha256": DIGEST, "bytes": len(GRAPH), "precision": "int8"}
    return {**values, "inputs": [], "outputs": [], "note": "", "data": [], **changes}


def data(**changes):
    return {"file": "vision.data", "sha256": DIGEST, "bytes": len(GRAPH), **changes}


def with_data(*files, **changes):
    return encoded(components=[part(data=list(files), **changes)])


def tensor(**changes):
    return {"name": "x", "dtype": "float32", "shape": [1], **changes}


def manifest(**changes):
    values = {"format_version": 2, "family": "tiny", "name": "tiny", "target": "onnx", "recipe": "int8"}
    return {**values, "components": [part()], "settings": {}, "provenance": {}, "quality": {}, **changes}


def encoded(**changes):
    return json.dumps(manifest(**changes)).encode()


def without(data, member):
    return {key: value for key, value in data.items() if key != member}


def nested(levels, opening="[", closing="]"):
    return encoded(settings={"x": 0}).replace(b"0}", (opening * levels + closing * levels + "}").encode())


MANIFESTS = {
    "empty": (b"", "not JSON"),
    "not an object": (b"[]", "must be an object"),
    "text": (b"manifest", "not JSON"),
    "cut short": (encoded()[:-5], "not JSON"),
    "more after the end": (encoded() + b"{}", "not JSON"),
    "comment": (b"// manifest\n" + encoded(), "not JSON"),
    "byte order mark": (b"\xef\xbb\xbf" + encoded(), "not JSON"),
    "utf-16": (encoded().decode().encode("utf-16"), "not UTF-8"),
    "not utf-8": (encoded(name="tiny").replace(b"tiny", b"\xff\xfe\xfa\xfb"), "not UTF-8"),
    "too large": (encoded() + b" " * 4 * 1024 * 1024, "too large"),
    "deep arrays": (nested(1_000_000), "nested too deeply"),
    "deep objects": (nested(400_000, '{"x":', "}"), "nested too deeply"),
    "one level too deep": (nested(31), "nested too deeply"),
    "deep, never closed": (b"[" * 4_000_000, "nested too deeply"),
    "many values": (nested(1).replace(b"[]", b"[" + b"[]," * 300_000 + b"0]"), "too many values"),
    "quotes without end": (b'{"x": "' + b'\\"' * 2_000_000, "not JSON"),
    "nan": (encoded(quality={"psnr": float("nan")}), "Got NaN"),
    "infinity": (encoded(quality={"psnr": float("-inf")}), "Got -Infinity"),
    "a float that overflows": (encoded(quality={"psnr": 0}).replace(b": 0}", b": 1e999}"), "1e999"),
    "an integer of a million digits": (encoded(quality={"x": 0}).replace(b"0}", b"9" * 1_000_000 + b"}"), "too large"),
    "an integer beyond 2^53": (encoded(quality={"x": 2**53}), str(2**53)),
    "duplicate key": (encoded().replace(b'"recipe"', b'"family": "other", "recipe"'), "Got 'family'"),
    "duplicate key, spelled otherwise": (
        encoded().replace(b'"recipe"', b'"f\\u0061mily": "x", "recipe"'),
        "Got 'family'",
    ),
    "duplicate key inside settings": (encoded(settings={"x": 0}).replace(b"0}", b'{"a":1,"a":2}}'), "Got 'a'"),
    "key that is not normalised": (encoded(settings={"u\u0308": 1}), "normal form C"),
    "key with nul": (encoded(settings={"a\0b": 1}), "key that is not usable"),
    "key with an escape": (encoded(settings={"\x1b[2J": {"x": "\0"}}), "key that is not usable"),
    "key too long": (encoded(settings={"k" * 257: 1}), "key that is not usable"),
    "unknown member with a long name": (encoded(**{"k" * 200: 1}), "unknown members"),
    "bad number at a long path": (encoded(settings={"k" * 256: {"k" * 256: 2**53}}), "too large"),
    "string with nul": (encoded(provenance={"licence": "MIT\0"}), "U\\+0000"),
    "half a surrogate pair": (encoded(settings={"x": "\ud800"}), "surrogate"),
    "unknown member": (encoded(scripts=["run.py"]), "unknown members. Got scripts"),
    "missing member": (json.dumps(without(manifest(), "quality")).encode(), "lacks quality"),
    "no version": (json.dumps(without(manifest(), "format_version")).encode(), "format version"),
    "version 0": (encoded(format_version=0), "Got 0"),
    "version 1": (encoded(format_version=1), "convert the model again"),
    "version 3": (encoded(format_version=3, layers=[]), "update nanoedge"),
    "version true": (encoded(format_version=True), "format version"),
    "version 2.0": (encoded(format_version=2.0), "format version"),
    "version as text": (encoded(format_version="2"), "format version"),
    "settings is a list": (encoded(settings=[]), "settings has the wrong type"),
    "family is null": (encoded(family=None), "family has the wrong type"),
    "family is a path": (encoded(family="../cli"), "family is not usable"),
    "name with a line break": (encoded(name="tiny\n"), "name is not usable"),
    "name with an escape": (encoded(name="\x1b[2J"), "name is not usable"),
    "name too long": (encoded(name="x" * 65), "name is not usable"),
    "components is an object": (encoded(components={}), "components has the wrong type"),
    "no components": (encoded(components=[]), "1 to 64"),
    "65 components": (encoded(components=[part(name=f"c{i}", file=f"f{i}") for i in range(65)]), "Got 65"),
    "same name twice": (encoded(components=[part(), part(file="other")]), "same name. Got vision"),
    "same file twice": (encoded(components=[part(), part(name="b")]), r"same name. Got vision\.onnx"),
    "same file but for case": (encoded(components=[part(), part(name="b", file="Vision.ONNX")]), "two files have"),
    "the manifest as component": (encoded(components=[part(file="Manifest.json")]), "two files have"),
    "component is text": (encoded(components=["vision"]), r"components\[0\] must be an object"),
    "component with unknown member": (encoded(components=[part(url="http://x")]), "unknown members. Got url"),
    "component without digest": (encoded(components=[part(sha256="", bytes=0)]), "no digest"),
    "digest in capitals": (encoded(components=[part(sha256=DIGEST.upper())]), "64 lower-case"),
    "digest too short": (encoded(components=[part(sha256=DIGEST[:-1])]), "64 lower-case"),
    "digest with a line break": (encoded(components=[part(sha256=DIGEST + "\n")]), "64 lower-case"),
    "negative size": (encoded(components=[part(bytes=-1)]), "-1 bytes"),
    "size zero": (encoded(components=[part(bytes=0)]), "0 bytes"),
    "size true": (encoded(components=[part(bytes=True)]), "bytes has the wrong type"),
    "size as float": (encoded(components=[part(bytes=7.0)]), "bytes has the wrong type"),
    "no data": (encoded(components=[without(part(), "data")]), "lacks data"),
    "data is null": (encoded(components=[part(data=None)]), "data has the wrong type"),
    "data is an object": (encoded(components=[part(data={"vision.data": 7})]), "data has the wrong type"),
    "data file is text": (with_data("vision.data"), r"data\[0\] must be an object"),
    "data file with unknown member": (with_data(data(), data(file="b", url="http://x")), r"data\[1\] has unknown"),
    "data file without size": (with_data(without(data(), "bytes")), "lacks bytes"),
    "data file without digest": (with_data(data(sha256="", bytes=0)), "no digest"),
    "data file with half a digest": (with_data(data(sha256=DIGEST[:32])), "64 lower-case"),
    "data file of size zero": (with_data(data(bytes=0)), "0 bytes"),
    "data file of negative size": (with_data(data(bytes=-7)), "-7 bytes"),
    "data file of size true": (with_data(data(bytes=True)), "bytes has the wrong type"),
    "data file of size as float": (with_data(data(bytes=7.0)), "bytes has the wrong type"),
    "data file beyond 2^53": (with_data(data(bytes=2**53)), "too large"),
    "17 data files": (with_data(*(data(file=f"d{i}") for i in range(17))), "Got 17"),
    "a million data files": (with_data().replace(b'"data": []', b'"data": [' + b"0," * 200_000 + b"0]"), "Got 200001"),
    "same data file twice": (with_data(data(), data()), r"same name. Got vision\.data"),
    "same data file but for case": (with_data(data(), data(file="Vision.Data")), "two files have"),
    "the graph as its data": (with_data(data(file="vision.onnx")), "two files have"),
    "the manifest as data": (with_data(data(file="manifest.json")), "two files have"),
    "the manifest as data, in capitals": (with_data(data(file="MANIFEST.JSON")), "two files have"),
    "data of two graphs": (
        encoded(components=[part(data=[data()]), part(name="b", file="b.onnx", data=[data()])]),
        r"same name. Got vision\.data",
    ),
    "data in a folder above": (with_data(data(), file="graphs/vision.onnx"), "not in the folder of its graph"),
    "data in a folder of another case": (
        with_data(data(file="Graphs/vision.data"), file="graphs/vision.onnx"),
        "not in the folder of its graph",
    ),
    "data in a folder of a similar name": (
        with_data(data(file="graphs2/vision.data"), file="graphs/vision.onnx"),
        "not in the folder of its graph",
    ),
    "data outside": (with_data(data(file="../secret")), "file is not usable"),
    "note with an escape": (encoded(components=[part(note="\x1b]0;owned\x07")]), "note of vision"),
    "note too long": (encoded(components=[part(note="x" * 501)]), "note of vision"),
    "257 tensors": (encoded(components=[part(inputs=[tensor(name=f"t{i}") for i in range(257)])]), "Got 257"),
    "same tensor twice": (encoded(components=[part(outputs=[tensor(), tensor()])]), "same name. Got x"),
    "unknown dtype": (encoded(components=[part(inputs=[tensor(dtype="object")])]), "unknown dtype"),
    "negative dimension": (encoded(components=[part(inputs=[tensor(shape=[-1])])]), "shape"),
    "enormous dimension": (encoded(components=[part(inputs=[tensor(shape=[2**31])])]), "shape"),
    "rank 9": (encoded(components=[part(inputs=[tensor(shape=[1] * 9)])]), "shape"),
    "dimension true": (encoded(components=[part(inputs=[tensor(shape=[True])])]), "shape"),
    "symbol that is code": (encoded(components=[part(inputs=[tensor(shape=["__import__('os')"])])]), "shape"),
}

FILES = [
    "", ".", "..", "/", "/etc/passwd", "../secret", "a/../../secret", "a/..", "./vision.onnx", "a//b", "a/", ".hidden",
    "a/.hidden", "C:\\secret", "C:secret", "..\\secret", "\\\\server\\share", "a\\b", "~/secret", "$HOME", "%TEMP%",
    "file:///etc/passwd", "http://example.org/x",
    "vision.onnx\0.txt", "vision.onnx\n", "vision onnx", "vi\u0301sion", "ｖ",
    "\u202exnno", "con", "NUL", "nul.onnx", "a/aux.bin", "COM1", "lpt9.txt", "vision.", "a./b", "-rf", "x" * 201,
    "vision.onnx:stream",
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_hostile_manifests(tmp_path, data, message):
    (tmp_path / "vision.onnx").write_bytes(GRAPH)
    (tmp_path / "manifest.json").write_bytes(data)
    start = time.process_time()
    with pytest.raises(ArtifactError, match=f"(?i){message}") as caught:
        Artifact.open(tmp_path)
    assert time.process_time() - start < 5
    assert len(str(caught.value)) < 1000
    assert not CONTROL_CHARACTER.search(str(caught.value))


def test_the_manifest_that_they_are_made_from_is_read(tmp_path):
    (tmp_path / "vision.onnx").write_bytes(GRAPH)
    (tmp_path / "manifest.json").write_bytes(encoded())
    assert Artifact.open(tmp_path).manifest.component("vision").bytes == len(GRAPH)


def test_the_deepest_nesting_that_is_read():
    assert Manifest.decode(nested(30)).settings


@pytest.mark.parametrize("file", FILES, ids=ascii)
def test_hostile_paths(file):
    for encoded_manifest in (encoded(components=[part(file=file)]), with_data(data(file=file))):
        with pytest.raises(ArtifactError, match="component's file is not usable|U\\+0000"):
            Manifest.decode(encoded_manifest)


@pytest.mark.parametrize("file", ["vision.onnx", "a/b/c.bin", "v_1-2.x", "console", "com10", "_x", "1", "x" * 200])
def test_paths_that_are_fine(file):
    assert Manifest.decode(encoded(components=[part(file=file)])).components[0].file == file


def test_a_tenth_of_the_values_allowed_needs_little_memory():
    data = encoded(settings={"x": 0}).replace(b"0}", b"[" + b"[]," * 13_000 + b"0]}")
    tracemalloc.start()
    Manifest.decode(data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 10 * 1024 * 1024


# --- folders ---------------------------------------------------------------------------------------------------


@pytest.fixture
def artifact(tmp_path):
    """A sound artifact beside a secret of the same bytes."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(encoded())
    (folder / "vision.onnx").write_bytes(GRAPH)
    (tmp_path / "secret").write_bytes(GRAPH)
    (tmp_path / "artifact-sibling").mkdir()
    (tmp_path / "artifact-sibling" / "vision.onnx").write_bytes(GRAPH)
    assert Artifact.open(folder)
    return folder


def replaced(artifact, how):
    """Put something else in the place of the component's file."""
    graph = artifact / "vision.onnx"
    graph.unlink()
    how(graph)
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(artifact)
    with pytest.raises(ArtifactError):
        Artifact.open(artifact, verify=False)
    return str(caught.value)


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "../artifact-sibling/vision.onnx", "/dev/zero"])
def test_links_that_leave_the_folder(artifact, target):
    assert "link that leaves" in replaced(artifact, lambda graph: graph.symlink_to(target))


def test_links_in_the_middle_of_a_path(artifact):
    (artifact / "manifest.json").write_bytes(encoded(components=[part(file="graphs/vision.onnx")]))
    (artifact / "graphs").symlink_to("../artifact-sibling")
    with pytest.raises(ArtifactError, match="link that leaves"):
        Artifact.open(artifact)


def test_links_inside_the_folder_and_to_the_folder_are_followed(artifact, tmp_path):
    (artifact / "vision.onnx").rename(artifact / "blob")
    (artifact / "vision.onnx").symlink_to("blob")
    (tmp_path / "link").symlink_to("artifact")
    assert Artifact.open(tmp_path / "link").path("vision") == artifact / "blob"


def test_links_in_a_circle(artifact):
    assert "can't be read" in replaced(artifact, lambda graph: graph.symlink_to("vision.onnx"))


def test_a_link_made_after_opening_is_not_followed(artifact):
    opened = Artifact.open(artifact)
    (artifact / "vision.onnx").unlink()
    (artifact / "vision.onnx").symlink_to("../secret")
    with pytest.raises(ArtifactError, match="link that leaves"):
        opened.path("vision")


def test_a_missing_file(artifact):
    assert "incomplete" in replaced(artifact, lambda graph: None)


def test_a_folder_in_place_of_the_file(artifact):
    assert "not a regular file" in replaced(artifact, lambda graph: graph.mkdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_a_named_pipe_does_not_block(artifact):
    assert "not a regular file" in replaced(artifact, os.mkfifo)


@pytest.mark.skipif(sys.platform == "win32", reason="needs socket files")
def test_a_socket(artifact, monkeypatch):
    monkeypatch.chdir(artifact)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        assert "not a regular file" in replaced(artifact, lambda graph: server.bind(graph.name))


def test_a_device(artifact):
    try:
        assert "not a regular file" in replaced(artifact, lambda graph: os.mknod(graph, 0o20600, os.makedev(1, 5)))
    except PermissionError:
        pytest.skip("only root makes devices")


def test_a_file_of_another_size_is_not_read(artifact):
    def sparse(graph):
        with graph.open("wb") as file:
            file.truncate(2**40)

    start = time.process_time()
    assert "wrong size" in replaced(artifact, sparse)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("kind", ["missing", "folder", "link", "pipe", "sparse"])
def test_what_stands_in_for_the_manifest(artifact, kind):
    file = artifact / "manifest.json"
    outside = shutil.copy(file, artifact.parent / "manifest.json")
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "link":
        file.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "sparse":
        with file.open("wb") as stream:
            stream.truncate(2**40)
    with pytest.raises(ArtifactError):
        Artifact.open(artifact)


@pytest.mark.parametrize("path", ["nowhere", "secret", "artifact/manifest.json"])
def test_a_path_that_is_not_a_folder(artifact, path):
    with pytest.raises(ArtifactError, match="no artifact at this path"):
        Artifact.open(artifact.parent / path)


# --- data files ------------------------------------------------------------------------------------------------


@pytest.fixture
def large(artifact):
    """The artifact with a data file."""
    (artifact / "manifest.json").write_bytes(with_data(data()))
    (artifact / "vision.data").write_bytes(GRAPH)
    (artifact.parent / "artifact-sibling" / "vision.data").write_bytes(GRAPH)
    assert Artifact.open(artifact).manifest.component("vision").total_bytes == 2 * len(GRAPH)
    return artifact


def refused(folder, message, also_unread=True):
    with pytest.raises(ArtifactError, match=message):
        Artifact.open(folder)
    if also_unread:
        with pytest.raises(ArtifactError, match=message):
            Artifact.open(folder, verify=False)
    else:
        Artifact.open(folder, verify=False)


@pytest.mark.parametrize("content", [b"", b"a grap", b"a graph and more"])
def test_a_data_file_of_another_size(large, content):
    (large / "vision.data").write_bytes(content)
    refused(large, r"vision\.data has the wrong size")


def test_a_data_file_of_another_content(large):
    (large / "vision.data").write_bytes(GRAPH.upper())
    refused(large, r"vision\.data has the wrong SHA-256", also_unread=False)


def test_a_missing_data_file(large):
    (large / "vision.data").unlink()
    refused(large, "incomplete")


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_data_file(large, make):
    (large / "vision.data").unlink()
    make(large / "vision.data")
    refused(large, "not a regular file")


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "../artifact-sibling/vision.data", "/dev/zero"])
def test_links_of_data_files_that_leave_the_folder(large, target):
    (large / "vision.data").unlink()
    (large / "vision.data").symlink_to(target)
    refused(large, "link that leaves")


def test_a_link_that_leads_the_graph_to_another_data_file(large):
    (large / "other").mkdir()
    (large / "vision.onnx").rename(large / "other" / "vision.onnx")
    (large / "vision.onnx").symlink_to("other/vision.onnx")
    refused(large, r"vision\.data can't be read")
    (large / "other" / "vision.data").write_bytes(GRAPH.upper())
    refused(large, "not beside its graph")


def test_links_of_data_files_stay_beside_the_graph(large):
    (large / "vision.data").rename(large / "blob")
    (large / "vision.data").symlink_to("blob")
    assert Artifact.open(large)
    (large / "manifest.json").write_bytes(with_data(data(file="graphs/vision.data"), file="graphs/vision.onnx"))
    (large / "graphs").mkdir()
    (large / "vision.onnx").rename(large / "graphs" / "vision.onnx")
    (large / "graphs" / "vision.data").symlink_to("../blob")
    refused(large, "link that leaves")
