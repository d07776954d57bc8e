"""iOS: a Swift package on Core ML.

    Package.swift
    Sources/NanoBanana/             the API, the procedure (Core/), and the artifact as a resource (nano-banana/)
    Sources/NanoBananaSelfTest/     every golden edit on a device, with the golden vectors
    Tests/
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from edge_runtime import __version__
from mobile_export import templates
from mobile_export.model import copy_artifact
from mobile_export.platform import Notice, Order


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
        values = {
            "version": __version__, "artifact": artifact.version, "recipe": artifact.manifest.recipe,
            "ios": "17.0", "macos": "14.0",
        }
        templates.copy("ios", folder, values)
        copy_artifact(artifact, folder / "Sources" / "NanoBanana" / "nano-banana")
        return ()


PLATFORM: Final = IosPlatform()
