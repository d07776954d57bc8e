"""Writing artifacts is all or nothing, whenever the writer is killed."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_artifact import FILES, PHOTO, leftovers, manifest

from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import PARTIAL_SUFFIX, finish_artifact, write_artifact
from edge_runtime.errors import ArtifactError
from edge_runtime.manifest import Component, DataFile

ROOT = Path(__file__).parents[2]


def test_write_and_open(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(FILES["vision"])
    written = write_artifact(tmp_path / "tiny", manifest(), {**FILES, "vision": source})
    opened = Artifact.open(tmp_path / "tiny")
    assert opened == written
    assert opened.path("vision").read_bytes() == FILES["vision"]
    vision = opened.manifest.component("vision")
    assert (vision.sha256, vision.bytes) == (hashlib.sha256(FILES["vision"]).hexdigest(), len(FILES["vision"]))
    assert vision.inputs == (PHOTO,)
    assert opened.manifest.settings == {"b": [1, 0.5, None], "a": True}
    encoded = (tmp_path / "tiny" / "manifest.json").read_bytes()
    assert encoded == opened.manifest.encode()
    assert opened.version == hashlib.sha256(encoded).hexdigest()[:12]
    assert leftovers(tmp_path) == ["source", "tiny"]


def test_equal_artifacts_have_equal_bytes_and_versions(tmp_path):
    versions = {write_artifact(tmp_path / name, manifest(), FILES).version for name in ("one", "two")}
    other = write_artifact(tmp_path / "three", manifest(), {**FILES, "vision": b"b graph"})
    assert len(versions) == 1
    assert other.version not in versions


def test_a_written_artifact_can_be_read_by_others(tmp_path):
    previous = os.umask(0o022)
    try:
        write_artifact(tmp_path / "tiny", manifest(), FILES)
    finally:
        os.umask(previous)
    assert (tmp_path / "tiny").stat().st_mode & 0o777 == 0o755


def test_parents_of_the_destination_are_made(tmp_path):
    assert write_artifact(tmp_path / "a" / "b", manifest(), FILES).folder == tmp_path / "a" / "b"


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_an_existing_destination_is_refused_and_kept(tmp_path, kind):
    destination = tmp_path / "tiny"
    make = {"folder": destination.mkdir, "file": destination.touch, "link": lambda: destination.symlink_to("nowhere")}
    make[kind]()
    with pytest.raises(ArtifactError, match="exists already"):
        write_artifact(destination, manifest(), FILES)
    assert leftovers(tmp_path) == ["tiny"]


@pytest.mark.parametrize(
    "files",
    [{"vision": b"x"}, {**FILES, "more": b"x"}, {**FILES, "vision": b""}, {**FILES, "words": Path("/nowhere/at/all")}],
    ids=["missing", "unknown", "empty", "unreadable"],
)
def test_a_write_that_fails_leaves_nothing(tmp_path, files):
    with pytest.raises(ArtifactError):
        write_artifact(tmp_path / "tiny", manifest(), files)
    assert leftovers(tmp_path) == []


def test_a_file_below_another_component_is_refused(tmp_path):
    parts = [Component(name=name, file=file, precision="none") for name, file in (("a", "x"), ("b", "x/y"))]
    with pytest.raises(ArtifactError, match="can't be written"):
        write_artifact(tmp_path / "tiny", manifest(components=tuple(parts)), {"a": b"1", "b": b"2"})
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_write_without_room_leaves_nothing(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(ArtifactError, match="too large"):
            write_artifact(tmp_path / "tiny", manifest(), {**FILES, "vision": b"x" * 2_000_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert leftovers(tmp_path) == []


DATA = {"graphs/vision.data": b"its tensors", "graphs/more.data": b"more"}


def with_data():
    vision, words = manifest().components
    return manifest(components=(replace(vision, data=tuple(DataFile(file=file) for file in DATA)), words))


def test_data_files_are_written_measured_and_checked(tmp_path):
    artifact = write_artifact(tmp_path / "tiny", with_data(), {**FILES, **DATA})
    vision = Artifact.open(tmp_path / "tiny").manifest.component("vision")
    assert [(part.name, part.sha256, part.bytes) for part in vision.data] == [
        (file.removeprefix("graphs/"), hashlib.sha256(content).hexdigest(), len(content))
        for file, content in DATA.items()
    ]
    assert (vision.bytes, vision.total_bytes) == (7, 7 + 11 + 4)
    assert artifact.manifest.total_bytes == 7 + 11 + 4 + 2
    assert artifact.path("vision").with_name("vision.data").read_bytes() == b"its tensors"


@pytest.mark.parametrize(
    "files",
    [FILES, {**FILES, **DATA, "graphs/vision.data": b""}, {**FILES, **DATA, "vision.data": b"x"}],
    ids=["missing", "empty", "unknown"],
)
def test_data_files_that_can_not_be_written(tmp_path, files):
    with pytest.raises(ArtifactError):
        write_artifact(tmp_path / "tiny", with_data(), files)
    assert leftovers(tmp_path) == []


def test_a_data_file_that_could_be_meant_as_a_component_is_not_written(tmp_path):
    part = Component(name="a.data", file="a.onnx", precision="none", data=(DataFile(file="a.data"),))
    with pytest.raises(ArtifactError, match=r"name of a component. Got a\.data"):
        write_artifact(tmp_path / "tiny", manifest(components=(part,)), {"a.data": b"1"})


# --- a killed writer -----------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.manifest import Component, Manifest
parts = tuple(Component(name=name, file=name + ".bin", precision="none") for name in ("first", "second"))
data = Manifest(family="tiny", name="tiny", target="onnx", recipe="fp32", components=parts)
print("ready", flush=True)
write_artifact(sys.argv[1], data, {"first": b"x" * 3_000_000, "second": Path(sys.argv[2])})
"""


def writer(destination, source):
    command = [sys.executable, "-c", WRITER, str(destination), str(source)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9 and a named pipe")
def test_a_writer_killed_in_the_middle_leaves_only_a_partial_folder(tmp_path):
    pipe, destination = tmp_path / "pipe", tmp_path / "out" / "tiny"
    os.mkfifo(pipe)
    with writer(destination, pipe) as process, pipe.open("wb") as source:  # opens when the writer has come to it
        source.write(b"half of a file")
        source.flush()
        process.send_signal(signal.SIGKILL)
        process.wait()
    (stale,) = leftovers(tmp_path / "out")
    assert re.fullmatch(rf"\.tiny\.[0-9a-f]{{8}}{re.escape(PARTIAL_SUFFIX)}", stale)
    with pytest.raises(ArtifactError, match=r"manifest\.json can't be read"):
        Artifact.open(tmp_path / "out" / stale)
    source_again = tmp_path / "source"
    source_again.write_bytes(b"a whole file")
    with writer(destination, source_again) as process:
        assert process.wait() == 0
    assert Artifact.open(destination).manifest.component("second").bytes == len(b"a whole file")


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
@pytest.mark.parametrize("milliseconds", [0, 2, 4, 8, 16, 32])
def test_a_writer_killed_at_any_time_leaves_a_whole_artifact_or_none(tmp_path, milliseconds):
    source, destination = tmp_path / "source", tmp_path / "out" / "tiny"
    source.write_bytes(b"y" * 3_000_000)
    destination.parent.mkdir()
    with writer(destination, source) as process:
        time.sleep(milliseconds / 1000)
        process.kill()
    if destination.exists():
        Artifact.open(destination)
    assert all(name == "tiny" or name.endswith(PARTIAL_SUFFIX) for name in leftovers(destination.parent))


# --- a work folder that becomes the artifact -----------------------------------------------------------------------


@pytest.fixture
def work(tmp_path):
    """A work folder with all files, and the measured manifest; the same content as `twin`, written the other way."""
    twin = write_artifact(tmp_path / "twin", with_data(), {**FILES, **DATA})
    folder = tmp_path / ".tiny.converting"
    (folder / "graphs").mkdir(parents=True)
    for part in twin.manifest.files:
        (folder / part.file).write_bytes((twin.folder / part.file).read_bytes())
    return folder, twin


def test_a_work_folder_becomes_an_artifact(tmp_path, work):
    folder, twin = work
    for name in (".lock", ".vision.json", "graphs/.part", "manifest.json"):
        (folder / name).write_text("left over")
    artifact = finish_artifact(folder, tmp_path / "out" / "tiny", twin.manifest)
    assert artifact.version == twin.version and Artifact.open(tmp_path / "out" / "tiny") == artifact
    assert leftovers(tmp_path) == ["out", "twin"]
    assert leftovers(artifact.folder) == leftovers(twin.folder) == ["graphs", "manifest.json", "words.json"]
    assert leftovers(artifact.folder / "graphs") == leftovers(twin.folder / "graphs")


SPOILS = {
    "missing": lambda folder: (folder / "graphs" / "more.data").unlink(),
    "size": lambda folder: (folder / "graphs" / "vision.data").write_bytes(b"short"),
    "another file": lambda folder: (folder / "notes.txt").write_text("x"),
    "another manifest": lambda folder: (folder / "graphs" / "manifest.json").write_text("x"),
    "another folder": lambda folder: (folder / "empty").mkdir(),
    "hidden folder": lambda folder: (folder / ".cache").mkdir(),
    "link": lambda folder: (folder / "words.json").unlink() or (folder / "words.json").symlink_to("../twin/words.json"),
    "link to a folder": lambda folder: (folder / ".link").symlink_to("../twin"),
    "folder for a file": lambda folder: (folder / "words.json").unlink() or (folder / "words.json").mkdir(),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS.keys())
def test_a_work_folder_that_differs_from_the_manifest_is_left_as_it_is(tmp_path, work, spoil):
    folder, twin = work
    (folder / ".lock").touch()
    spoil(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(ArtifactError):
        finish_artifact(folder, tmp_path / "tiny", twin.manifest)
    assert sorted(folder.rglob("*")) == before
    assert not (tmp_path / "tiny").exists()


def test_a_finish_that_fails_can_be_tried_again(tmp_path, work):
    folder, twin = work
    (folder / ".request.json").touch()
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="can't be written"):
        finish_artifact(folder, tmp_path / "file" / "tiny", twin.manifest)
    assert (folder / ".request.json").exists()
    assert finish_artifact(folder, tmp_path / "tiny", twin.manifest).version == twin.version


def test_finishing_replaces_nothing_and_wants_digests(tmp_path, work):
    folder, twin = work
    (tmp_path / "tiny").mkdir()
    with pytest.raises(ArtifactError, match="exists already"):
        finish_artifact(folder, tmp_path / "tiny", twin.manifest)
    with pytest.raises(ArtifactError, match="no digest"):
        finish_artifact(folder, tmp_path / "other", with_data())
    with pytest.raises(ArtifactError, match="no work folder"):
        finish_artifact(tmp_path / "nowhere", tmp_path / "other", twin.manifest)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(ArtifactError, match="no work folder"):
        finish_artifact(tmp_path / "link", tmp_path / "other", twin.manifest)
    assert not (folder / "manifest.json").exists() and leftovers(tmp_path / "tiny") == []
