"""Golden vectors: every graph, readable by anybody, and of the right model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import golden
from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.engines.onnxruntime import ENGINE
from edge_runtime.errors import ArtifactError


@pytest.fixture(scope="module")
def embedded() -> Artifact:
    return Artifact.open(EMBEDDED)


def test_golden_vectors_cover_every_graph_and_can_be_read_back(embedded: Artifact, tmp_path: Path) -> None:
    golden.write(embedded, tmp_path)
    data = json.loads((tmp_path / "golden.json").read_text())
    assert {graph["component"] for graph in data["graphs"]} == {part.name for part in embedded.manifest.components}
    for graph in data["graphs"]:
        component = embedded.manifest.component(graph["component"])
        tensors = {
            kind: {
                tensor["name"]: np.fromfile(tmp_path / tensor["file"], tensor["dtype"]).reshape(tensor["shape"])
                for tensor in graph[kind]
            }
            for kind in ("inputs", "outputs")
        }
        with ENGINE.open(embedded.path(component.name), component, threads=1) as session:
            for name, value in session.run(tensors["inputs"]).items():
                np.testing.assert_allclose(value.astype(float), tensors["outputs"][name].astype(float), atol=1e-3)
    assert all(edit["plan"]["edits"] for edit in data["edits"])
    photo = (tmp_path / "photo.png").read_bytes()
    assert all((tmp_path / edit["file"]).read_bytes() != photo for edit in data["edits"])


def test_golden_vectors_come_from_the_same_checkpoint(embedded: Artifact, tmp_path: Path) -> None:
    assert golden.source(embedded) is embedded
    files = {part.name: embedded.path(part.name) for part in embedded.manifest.components}
    unknown = replace(embedded.manifest, target="papyrus")
    assert golden.source(write_artifact(tmp_path / "unknown", unknown, files)).folder == EMBEDDED
    provenance = {**embedded.manifest.provenance, "checkpoint_sha256": "0" * 64}
    stranger = write_artifact(tmp_path / "stranger", replace(unknown, provenance=provenance), files)
    with pytest.raises(ArtifactError, match="the same model.*--golden-from"):
        golden.source(stranger)
