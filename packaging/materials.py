"""The two documents that travel with the binary: all licences as text, and the bill of materials (CycloneDX 1.6)."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from parts import OURS, Part

LICENCES: Final = "LICENCES.txt"
BILL: Final = "sbom.cdx.json"
_RULE: Final = "=" * 100
_OWN_LICENCE: Final = "Apache-2.0"


def licences(own_text: str, found: Sequence[Part]) -> str:
    """Return the licences of nanoedge and of all its parts, in full, a rule before each."""
    sections = [f"{OURS}, its program and its model: {_OWN_LICENCE}\n\n{own_text}"]
    for part in found:
        texts = "\n\n".join(dict.fromkeys(text.strip() for text in part.texts))
        sections.append(f"{part.name} {part.version}: {part.licence or 'see below'}\n\n{texts}\n")
    return "\n".join(f"{_RULE}\n{section}" for section in sections)


def bill(version: str, found: Sequence[Part]) -> str:
    """Return the bill of materials as JSON; the same parts give the same bytes."""
    components = [_component(part) for part in found]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([version, components], sort_keys=True))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "name": OURS, "version": version, "bom-ref": OURS,
                "licenses": [{"license": {"id": _OWN_LICENCE}}],
            }
        },
        "components": components,
        "dependencies": [{"ref": OURS, "dependsOn": [component["bom-ref"] for component in components]}],
    }
    return json.dumps(document, indent=1) + "\n"


def _component(part: Part) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library", "name": part.name, "version": part.version, "bom-ref": part.origin, "purl": part.origin,
    }
    if part.licence:
        component["licenses"] = [{"license": {"name": part.licence}}]
    if part.libraries:
        component["components"] = [_file(name, path) for name, path in sorted(part.libraries.items())]
    return component


def _file(name: str, path: Path) -> dict[str, Any]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"type": "file", "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}
