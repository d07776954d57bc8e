"""The artifact inside edge_runtime must be the one that the committed checkpoint gives."""

import hashlib

import pytest
from click.testing import CliRunner

from converters.embed import RECIPE, TARGET, embed
from converters.sources.nano_banana import SOURCE
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED


def test_the_embedded_artifact_was_made_from_the_committed_checkpoint():
    artifact = Artifact.open(EMBEDDED)
    digest = hashlib.sha256(SOURCE.default_checkpoint.read_bytes()).hexdigest()
    assert artifact.manifest.provenance["checkpoint_sha256"] == digest, "run `make embed`"
    assert (artifact.manifest.recipe, artifact.manifest.target) == (RECIPE, TARGET)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # minutes: everything is converted, and ranges are searched
def test_it_can_be_made_again(tmp_path):
    result = CliRunner().invoke(embed, ["-o", str(tmp_path / "nano-banana")])
    assert result.exception is None, result.output
    made, embedded = Artifact.open(tmp_path / "nano-banana").manifest, Artifact.open(EMBEDDED).manifest
    assert made.settings == embedded.settings
    # ranges can differ in the last digit between processors, so only the precision of a component must be the same
    assert [(c.name, c.precision, c.inputs, c.outputs) for c in made.components] == [
        (c.name, c.precision, c.inputs, c.outputs) for c in embedded.components
    ]
