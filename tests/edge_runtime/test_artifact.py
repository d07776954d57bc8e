"""Artifacts: what opening finds. Attacks are in hostile/."""

import pytest
from tiny_artifact import FILES, manifest

from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.errors import ArtifactError


def test_an_unknown_component_is_refused(tmp_path):
    artifact = write_artifact(tmp_path / "tiny", manifest(), FILES)
    with pytest.raises(ArtifactError, match="vision, words"):
        artifact.path("vae")


def test_changed_files_are_found(tmp_path):
    artifact = write_artifact(tmp_path / "tiny", manifest(), FILES)
    artifact.path("vision").write_bytes(b"A graph")
    with pytest.raises(ArtifactError, match="SHA-256"):
        Artifact.open(tmp_path / "tiny")
    Artifact.open(tmp_path / "tiny", verify=False)
    artifact.path("vision").write_bytes(b"a graph, longer")
    with pytest.raises(ArtifactError, match="wrong size"):
        Artifact.open(tmp_path / "tiny", verify=False)
