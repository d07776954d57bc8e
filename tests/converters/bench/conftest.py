"""Artifacts that are the embedded one, made worse on purpose, and small photographs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from converters.bench import photographs
from converters.bench.photographs import Photograph
from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.editor import EMBEDDED

SIDE = 224

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What a script starts in the background ignores Ctrl-C, and so does all that it starts: commands under test, here.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def altered(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Make an artifact of the family `altered`, which every process that is started from now on knows."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("altered")))

    def make(name: str, slower: float = 0.0, noise: float = 0.0) -> Path:
        original = Artifact.open(EMBEDDED)
        settings = {**original.manifest.settings, "altered": {"slower": slower, "noise": noise}}
        files = {component.name: original.path(component.name) for component in original.manifest.components}
        manifest = replace(original.manifest, family="altered", settings=settings)
        return write_artifact(tmp_path / name, manifest, files).folder

    return make


@pytest.fixture(scope="session")
def photos() -> tuple[Photograph, ...]:
    return photographs.load(None, None, SIDE, 3)
