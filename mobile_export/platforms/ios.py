"""iOS: a Swift package on Core ML.

    Package.swift
    Sources/NanoBanana/             the API, the procedure (Core/), and the artifact as a resource (nano-banana/)
    Sources/NanoBananaSelfTest/     every golden edit on a device, with the golden vectors
    Tests/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from edge_runtime import __version__
from edge_runtime.artifact import Artifact
from edge_runtime.errors import ArtifactError
from mobile_export import templates
from mobile_export.model import copy_artifact
from mobile_export.platform import Notice, Order

MODEL_SUFFIX: Final = ".mlmodel"
_VERSION_FIELD: Final = 0x08
"""The first byte of a model's file: the protobuf tag of its format's version, a small integer, which follows."""


@dataclass(frozen=True, slots=True)
class Systems:
    """The oldest systems that read a version of the model format."""

    ios: str
    macos: str


SYSTEMS: Final[Mapping[int, Systems]] = MappingProxyType({8: Systems("17.0", "14.0"), 9: Systems("18.0", "15.0")})


class IosPlatform:
    """See `Platform`."""

    name = "ios"
    summary = "A Swift package for iOS and macOS apps, on Core ML."
    targets = ("coreml",)
    families = ("nano-banana",)
    options: Mapping[str, str] = MappingProxyType({})
    golden = "Sources/NanoBananaSelfTest/golden"

    def write(self, order: Order, folder: Path) -> tuple[Notice, ...]:
        """See `Platform.write`."""
        artifact = order.artifact
        systems = oldest_systems(artifact)
        values = {
            "version": __version__, "artifact": artifact.version, "recipe": artifact.manifest.recipe,
            "ios": systems.ios, "macos": systems.macos,
        }
        templates.copy("ios", folder, values)
        copy_artifact(artifact, folder / "Sources" / "NanoBanana" / "nano-banana")
        return ()


def oldest_systems(artifact: Artifact) -> Systems:
    """Return the oldest systems that read every package; raises ArtifactError for a format that isn't known here."""
    files = [part.file for part in artifact.manifest.files if part.file.endswith(MODEL_SUFFIX)]
    found = {file: _format_version(artifact.folder / file) for file in files}
    if unknown := {file: version for file, version in found.items() if version not in SYSTEMS}:
        raise ArtifactError(
            "these Core ML models have a format that export ios doesn't know", got=unknown,
            allowed=", ".join(map(str, SYSTEMS)), hint="convert the model again with --to coreml",
        )
    if not found:
        raise ArtifactError("the artifact has no Core ML model", hint="convert the model again with --to coreml")
    return SYSTEMS[max(found.values())]


def _format_version(file: Path) -> int:
    with file.open("rb") as stream:
        head = stream.read(2)
    return head[1] if len(head) == 2 and head[0] == _VERSION_FIELD else 0


PLATFORM: Final = IosPlatform()
