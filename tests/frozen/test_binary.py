"""The built binary where nothing else is: no environment, no home, no place to write, killed, damaged, out of room."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import measure
import pytest
import unpacked
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from PIL import Image

from edge_runtime import plugins

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
SECONDS = 120


@pytest.fixture(params=["folder", "one file"])
def binary(request: pytest.FixtureRequest, folder: Path, one_file: Path) -> Path:
    return folder / "nanoedge" if request.param == "folder" else one_file


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=SECONDS, **options)  # type: ignore[call-overload,no-any-return]


def mounted(options: str, place: Path, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command that alone sees a temporary file system at `place`."""
    script = f'mount -t tmpfs -o {options} tmpfs {place} && exec "$@"'
    return run("unshare", "--mount", "sh", "-c", script, "sh", *command, env={**os.environ, **variables})


def test_sizes_are_within_the_limits(dist: Path) -> None:
    for limit in measure.limits(dist):
        if limit.unit == "MB":
            assert limit.measure() <= limit.most, limit.what


def test_times_can_be_measured(dist: Path) -> None:
    for limit in measure.limits(dist):
        assert 0 < limit.measure() < 60 * limit.most  # how long it takes here and now is no property of the build


def test_it_has_what_the_source_has(binary: Path) -> None:
    found = json.loads(run(binary, "plugins", "--json").stdout)
    assert found == {kind: list(plugins.names(kind)) for kind in ("families", "engines", "providers", "sources")}
    verbs = run(binary, "--help").stdout
    source = run(sys.executable, "-m", "edge_runtime.cli", "--help").stdout
    names, of_source = (
        {line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line} for text in (verbs, source)
    )
    assert of_source - names == {"bench", "compare", "convert"} and names < of_source


def test_what_it_lacks_it_explains(binary: Path) -> None:
    done = run(binary, "convert", "nano-banana")
    assert done.returncode == 6 and "install the Python package nanoedge" in done.stderr
    assert "Traceback" not in done.stderr


@root_only
def test_nothing_around_it(binary: Path, photo: bytes, tmp_path: Path) -> None:
    """No environment, an empty home, a current folder that can't be written to."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "photo.jpg").write_bytes(photo)
    (tmp_path / "out").mkdir()
    here = tmp_path / "in"
    script = f'mount --bind -o ro {here} {here} && cd {here} && ! touch there 2>/dev/null && exec "$@"'
    edit = [binary, "edit", "photo.jpg", "black and white", "-o", tmp_path / "out" / "edited.jpg"]
    done = run("unshare", "--mount", "sh", "-c", script, "sh", "env", "-i", f"HOME={tmp_path}/home", *edit)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out" / "edited.jpg") as edited:
        assert edited.size == (512, 512)
    assert not (tmp_path / "home").exists()


def test_every_library_is_in_the_bill_of_materials(dist: Path, folder: Path) -> None:
    text = (folder / "lib" / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = json.loads(text)["components"]
    stated = {file["name"]: file["hashes"][0]["content"] for part in components for file in part.get("components", ())}
    libraries = [path for path in (folder / "lib").rglob("*") if ".so" in path.suffixes and not path.is_symlink()]
    found = {
        path.relative_to(folder / "lib").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in libraries
    }
    assert len(found) > 50 and found == stated
    licences = (dist / "LICENCES.txt").read_text()
    for part in components:
        assert f"\n{part['name']} {part['version']}: " in licences
    assert "readline" not in licences.split("nanoedge", 1)[0] and not any("readline" in name for name in found)


def test_no_path_of_the_build_machine_is_in_it(folder: Path) -> None:
    for file in (folder / "lib").glob("nanoedge-*/*"):
        assert str(Path(__file__).parents[2]) not in file.read_text(errors="replace")


@root_only
def test_one_file_where_nothing_may_run(one_file: Path, folder: Path, tmp_path: Path) -> None:
    done = mounted("noexec,size=400m", tmp_path, one_file, "--version", TMPDIR=str(tmp_path))
    assert done.returncode != 0 and "failed to map segment" in done.stderr  # the bootloader's words, explained in docs
    done = mounted("noexec,size=400m", tmp_path, folder / "nanoedge", "--version", TMPDIR=str(tmp_path))
    assert done.returncode == 0


@root_only
def test_one_file_where_there_is_no_room(one_file: Path, folder: Path, tmp_path: Path) -> None:
    left = f'"$@"; code=$?; ls -A {tmp_path}/{unpacked.PREFIX}*; exit $code'
    done = mounted("size=50m", tmp_path, "sh", "-c", left, "sh", one_file, "--version", TMPDIR=str(tmp_path))
    assert done.returncode != 0 and "Failed to extract" in done.stderr  # the bootloader's words, explained in docs
    assert unpacked.LOCK in done.stdout.split()  # so a later start knows it for ours, and removes it
    assert mounted("size=50m", tmp_path, folder / "nanoedge", "--version", TMPDIR=str(tmp_path)).returncode == 0


@root_only
def test_a_full_disk_keeps_no_half_result(binary: Path, photo: bytes, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(photo)
    full = tmp_path / "full"
    full.mkdir()
    edit = [binary, "edit", tmp_path / "photo.jpg", "warmer", "-o", full / "edited.png"]
    script = f'mount -t tmpfs -o size=16k tmpfs {full} && "$@"; code=$?; ls -A {full}; exit $code'
    done = run("unshare", "--mount", "sh", "-c", script, "sh", *edit)
    assert done.returncode == 2 and "can't be written" in done.stderr and "No space left" in done.stderr
    assert done.stdout.strip() == "" and "Traceback" not in done.stderr


def test_a_damaged_model(folder: Path, photo: bytes, tmp_path: Path) -> None:
    copy = tmp_path / "nanoedge"
    shutil.copytree(folder, copy, symlinks=True)
    (tmp_path / "photo.jpg").write_bytes(photo)
    graph = copy / "lib" / "edge_runtime" / "embedded" / "nano-banana" / "render.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 0xFF
    graph.write_bytes(data)
    done = run(copy / "nanoedge", "edit", tmp_path / "photo.jpg", "warmer", "-o", tmp_path / "out.jpg")
    assert done.returncode == 4 and "render.onnx" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out.jpg").exists()
    doctor = run(copy / "nanoedge", "doctor", "--state", tmp_path / "state")
    assert doctor.returncode == 1 and "install nanoedge again" in " ".join(doctor.stdout.split())


def waited(for_what: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if for_what():
            return True
        time.sleep(0.1)
    return False


def answers(port: int) -> bool:
    try:
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2).status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_killed_one_file_leaves_no_server_and_its_folder_is_swept(one_file: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [one_file, "serve", "--port", str(port), "--state", tmp_path / "state"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as bootloader:
        try:
            assert waited(lambda: answers(port))
            (folder,) = temporary.glob(f"{unpacked.PREFIX}*")
            assert (folder / unpacked.LOCK).read_text()
            run(one_file, "--version", env=environment)
            assert folder.exists() and answers(port)  # another start leaves what is in use alone
        finally:
            bootloader.send_signal(signal.SIGKILL)
    assert waited(lambda: not answers(port))
    assert folder.exists()
    assert waited(lambda: run(one_file, "--version", env=environment).returncode == 0 and not folder.exists())
    assert list(temporary.iterdir()) == []
