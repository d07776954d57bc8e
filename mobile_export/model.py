"""The artifact's own files, as they are, in a bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

from edge_runtime.artifact import Artifact
from edge_runtime.manifest import MANIFEST_FILE


def copy_artifact(artifact: Artifact, folder: Path) -> None:
    """Copy the manifest and the files that it names into `folder`; nothing else that lies beside them."""
    for file in (MANIFEST_FILE, *(part.file for part in artifact.manifest.files)):
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artifact.folder / file, target)
