"""Large files are read once for their digests, and again when they could have changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime import artifact as artifact_module
from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.checked_files import KEPT_SECONDS, CheckedFiles
from edge_runtime.errors import ArtifactError
from edge_runtime.manifest import Component, Manifest
from edge_runtime.state import default_cache

BYTES = b"weights " * 100
OTHERS = b"damaged " * 100


@pytest.fixture
def model(tmp_path: Path) -> Path:
    part = Component(name="weights", file="weights.bin", precision="none")
    manifest = Manifest(family="tiny", name="tiny", target="onnx", recipe="fp32", components=(part,))
    return write_artifact(tmp_path / "model", manifest, {"weights": BYTES}).folder


@pytest.fixture
def checked(tmp_path: Path) -> CheckedFiles:
    return CheckedFiles(tmp_path / "checked", least_bytes=len(BYTES), settled_seconds=0)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the files that were read for their digests."""
    names: list[str] = []
    digest = artifact_module._digest

    def noted(file):
        names.append(Path(file.name).name)
        return digest(file)

    monkeypatch.setattr(artifact_module, "_digest", noted)
    yield names


def entries(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "checked").iterdir())


def test_the_second_opening_reads_nothing(model: Path, checked: CheckedFiles, read: list[str]) -> None:
    for _ in range(3):
        Artifact.open(model, checked=checked)
    assert read == ["weights.bin"]


def test_without_a_memory_every_opening_reads(model: Path, read: list[str]) -> None:
    for _ in range(2):
        Artifact.open(model)
    assert read == ["weights.bin"] * 2


def test_another_process_knows_too(model: Path, checked: CheckedFiles, tmp_path: Path, read: list[str]) -> None:
    Artifact.open(model, checked=checked)
    Artifact.open(model, checked=CheckedFiles(tmp_path / "checked", least_bytes=0, settled_seconds=0))
    assert read == ["weights.bin"]


def write_in_place(file: Path) -> None:
    with file.open("r+b") as open_file:
        open_file.write(OTHERS)


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(OTHERS)
    other.replace(file)


@pytest.mark.parametrize("change", [write_in_place, replace])
@pytest.mark.skipif(os.name != "posix", reason="the time of the last change is POSIX's")
def test_a_change_is_found_though_the_time_of_writing_is_put_back(
    model: Path, checked: CheckedFiles, change, read: list[str]
) -> None:
    Artifact.open(model, checked=checked)
    file = model / "weights.bin"
    before = file.stat()
    change(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ArtifactError, match=r"weights\.bin has the wrong SHA-256"):
        Artifact.open(model, checked=checked)
    assert len(read) == 2


def test_a_damaged_file_is_not_remembered(model: Path, checked: CheckedFiles, tmp_path: Path, read: list[str]) -> None:
    write_in_place(model / "weights.bin")
    for _ in range(2):
        with pytest.raises(ArtifactError, match="wrong SHA-256"):
            Artifact.open(model, checked=checked)
    assert len(read) == 2 and not (tmp_path / "checked").exists()


def test_the_digest_that_was_compared_counts(checked: CheckedFiles, model: Path) -> None:
    status = (model / "weights.bin").stat()
    checked.add(status, status, "a" * 64)
    assert checked.holds(status, "a" * 64) and not checked.holds(status, "b" * 64)


def test_a_file_that_just_changed_is_read_again(model: Path, tmp_path: Path, read: list[str]) -> None:
    unsettled = CheckedFiles(tmp_path / "checked", least_bytes=0, settled_seconds=60)
    for _ in range(2):
        Artifact.open(model, checked=unsettled)
    assert len(read) == 2


def test_a_file_that_changed_while_it_was_read_is_read_again(checked: CheckedFiles, model: Path) -> None:
    file = model / "weights.bin"
    before = file.stat()
    write_in_place(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    checked.add(before, file.stat(), "a" * 64)
    assert not checked.holds(file.stat(), "a" * 64)


def test_small_files_are_read_every_time(model: Path, tmp_path: Path, read: list[str]) -> None:
    for _ in range(2):
        Artifact.open(model, checked=CheckedFiles(tmp_path / "checked", settled_seconds=0))
    assert len(read) == 2


def test_after_a_week_it_is_read_again(model: Path, checked: CheckedFiles, tmp_path: Path, read: list[str]) -> None:
    Artifact.open(model, checked=checked)
    (entry,) = entries(tmp_path)
    long_ago = time.time() - KEPT_SECONDS - 1
    os.utime(entry, (long_ago, long_ago))
    Artifact.open(model, checked=checked)
    assert len(read) == 2


def test_what_was_checked_in_the_future_is_read_again(
    model: Path, checked: CheckedFiles, tmp_path: Path, read: list[str]
) -> None:
    Artifact.open(model, checked=checked)
    (entry,) = entries(tmp_path)
    os.utime(entry, (time.time() + 3600, time.time() + 3600))  # the clock went wrong, as without a battery
    Artifact.open(model, checked=checked)
    assert len(read) == 2


def test_what_is_too_old_to_count_is_removed(model: Path, checked: CheckedFiles, tmp_path: Path) -> None:
    Artifact.open(model, checked=checked)
    old = tmp_path / "checked" / "old"
    old.touch()
    os.utime(old, (0, 0))
    file = model / "weights.bin"
    checked.add(file.stat(), file.stat(), "a" * 64)
    assert not old.exists() and len(entries(tmp_path)) == 2


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_folder_that_others_may_write_to_is_not_believed(
    model: Path, checked: CheckedFiles, tmp_path: Path, read: list[str]
) -> None:
    Artifact.open(model, checked=checked)
    (tmp_path / "checked").chmod(0o777)
    Artifact.open(model, checked=checked)
    assert len(read) == 2


def test_a_place_that_can_not_be_used_costs_only_time(model: Path, tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "checked").write_text("a file is in the way")
    for _ in range(2):
        Artifact.open(model, checked=CheckedFiles(tmp_path / "checked", least_bytes=0, settled_seconds=0))
    assert len(read) == 2


@pytest.mark.skipif(os.name != "posix", reason="POSIX's variables")
def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache() == Path("/home/me/.cache/nanoedge")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_cache() == Path("/x/nanoedge")
