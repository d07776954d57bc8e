"""What `nanoedge doctor` finds in the model store, one planted fault at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.source import SourceOptions
from edge_runtime.sources.folder import Folder
from edge_runtime.store.layout import Store
from edge_runtime.store.pull import Wish, pull
from edge_runtime.store.version import Version
from server.doctor.finding import Finding, Status
from server.doctor.models import stored
from tests.edge_runtime.store.conftest import copies_of_nano_banana


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def version(store: Store, tmp_path: Path) -> Version:
    folder = copies_of_nano_banana(tmp_path / "made")[0]
    return pull(store, Folder(str(folder), SourceOptions()), Wish(address="/usb/model")).version


def wrong(store: Store, status: Status = Status.FAIL) -> Finding:
    (found,) = [finding for finding in stored(store.folder, None) if finding.status is status]
    return found


def test_no_store_is_no_fault(store: Store) -> None:
    assert [finding.status for finding in stored(store.folder, None)] == [Status.OK]


def test_a_sound_store(store: Store, version: Version) -> None:
    store.activate(version)
    found = list(stored(store.folder, None))
    assert {finding.status for finding in found} == {Status.OK} and found[1].subject == f"model {version}"


def test_a_damaged_version(store: Store, version: Version) -> None:
    (version.folder / "vision.onnx").write_bytes(b"x" * (version.folder / "vision.onnx").stat().st_size)
    found = wrong(store)
    assert "wrong SHA-256" in found.found and f"remove {version}" in found.fix and "/usb/model" in found.fix
    store.activate(version)
    assert "rollback nano-banana" in wrong(store).fix


def test_a_newer_store(store: Store, version: Version) -> None:
    (store.folder / "store.json").write_text('{"format": 2}')
    assert "newer nanoedge" in wrong(store).found


def test_a_damaged_pointer(store: Store, version: Version) -> None:
    (version.folder.parent / "active.json").write_text("{")
    found = wrong(store)
    assert found.subject == "active nano-banana" and "models activate nano-banana@VERSION" in found.fix


def test_an_active_version_that_is_gone(store: Store, version: Version) -> None:
    store.activate(version)
    version.folder.rename(store.folder / "away")
    assert f"version {version.short} of nano-banana is gone" in wrong(store).found.lower()


def test_an_unsigned_version_where_keys_are_given(store: Store, version: Version) -> None:
    (store.folder / "trusted.pub").write_text("RWQ72NSeqtOTazDeZtSEQpGjW2GVizKs2IoVDGTaJCwLFUlMYwbhcK85")
    assert "not signed" in wrong(store).found


def test_a_large_unfinished_download(store: Store, version: Version) -> None:
    part = store.partial / "digest" / ".parts" / "file"
    part.parent.mkdir(parents=True)
    with part.open("wb") as file:
        file.write(bytes(101_000_000))
    assert "unfinished" in wrong(store, Status.WARN).found
