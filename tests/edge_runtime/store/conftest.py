from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.manifest import Component, Manifest
from edge_runtime.source import SourceOptions
from edge_runtime.sources.folder import Folder
from edge_runtime.store import pull
from edge_runtime.store.layout import Store
from edge_runtime.store.pull import Wish
from edge_runtime.store.version import Version
from tests.edge_runtime.store.servers import RegistryHandler, Site, serving
from tests.small_disk import Disk, small_disk

Maker = Callable[..., Path]
MODEL_BYTES = 900_000


@pytest.fixture
def made(tmp_path: Path) -> Maker:
    """Make a small artifact of two files, of which one is the same in all; its name and its bytes can be chosen."""

    def make(word: str = "one", name: str = "toy") -> Path:
        manifest = Manifest(
            family="toy", name=name, target="onnx", recipe="int8", provenance={"word": word},
            components=(Component(name="first", file="first.onnx", precision="int8"),
                        Component(name="common", file="deep/common.onnx", precision="int8")),
        )  # fmt: skip
        folder = tmp_path / "made" / f"{name}-{word}"
        if folder.exists():
            return folder
        content = {"first": (word * MODEL_BYTES).encode()[:MODEL_BYTES], "common": b"shared" * 1000}
        write_artifact(folder, manifest, content)
        return folder

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state" / "models")


@pytest.fixture
def brought(store: Store, made: Maker) -> Callable[..., Version]:
    """Make an artifact and pull it."""

    def bring(word: str = "one", name: str = "toy") -> Version:
        folder = made(word, name)
        return pull.pull(store, Folder(str(folder), SourceOptions()), Wish(address=str(folder))).version

    return bring


@pytest.fixture(scope="session")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two artifacts that really run: the embedded one with another provenance each."""
    return copies_of_nano_banana(tmp_path_factory.mktemp("models"))


def copies_of_nano_banana(folder: Path) -> tuple[Path, Path]:
    original = Artifact.open(EMBEDDED)
    manifest = original.manifest
    files = {part.name: original.path(part.name) for part in manifest.components}
    found = []
    for word in ("first", "second"):
        changed = replace(manifest, provenance={**manifest.provenance, "copy": word})
        found.append(write_artifact(folder / word, changed, files).folder)
    return found[0], found[1]


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def registry() -> Iterator[Site]:
    with serving(RegistryHandler) as site:
        yield site


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of 24 MB, of which a pull leaves 16 free."""
    with small_disk(tmp_path / "disk", 24) as mounted:
        yield mounted
