"""NOTICE.md: whose work is in a bundle, and under which licence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from edge_runtime import __version__
from edge_runtime.errors import ArtifactError
from edge_runtime.manifest import Manifest
from mobile_export.platform import Notice

TEMPLATES_LICENCE: Final = "Apache-2.0"


def notice(manifest: Manifest, version: str, parts: Iterable[Notice]) -> str:
    """Return the text: the model with its source and licence, the glue around it, and what others made."""
    provenance: Mapping[str, Any] = manifest.provenance
    if not provenance.get("licence"):
        raise ArtifactError(
            f"the artifact of {manifest.name} doesn't say under which licence it is",
            hint="convert it again: its provenance must have a licence",
        )
    lines = [
        "# Licences", "",
        f"- **{manifest.name}** (artifact {version}, recipe {manifest.recipe}): {provenance['licence']}. "
        f"Source: {provenance.get('source', 'not stated')}.",
        f"- **The code around it**, written by nanoedge {__version__}: {TEMPLATES_LICENCE}.",
    ]
    parts = tuple(parts)
    lines += [f"- **{part.part}**: {part.licence}. The text is below." for part in parts]
    for part in parts:
        lines += ["", f"## {part.part}", "", "```", part.text.strip(), "```"]
    return "\n".join(lines) + "\n"


def write_notice(folder: Path, text: str) -> None:
    """Write NOTICE.md."""
    (folder / "NOTICE.md").write_text(text, encoding="utf-8")
