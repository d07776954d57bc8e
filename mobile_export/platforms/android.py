"""Android: a Gradle library module on LiteRT.

    build.gradle.kts, consumer-rules.pro
    src/main/kotlin/                the API, and the procedure (core/)
    src/main/assets/nano-banana/    the artifact
    src/test, src/androidTest       tests on a computer and on a device, with golden/
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


class AndroidPlatform:
    """See `Platform`."""

    name = "android"
    summary = "A Gradle library module for Android apps, in Kotlin on LiteRT."
    targets = ("tflite",)
    families = ("nano-banana",)
    options: Mapping[str, str] = MappingProxyType({})
    golden = "golden"

    def write(self, order: Order, folder: Path) -> tuple[Notice, ...]:
        """See `Platform.write`."""
        artifact = order.artifact
        values = {"version": __version__, "artifact": artifact.version, "recipe": artifact.manifest.recipe}
        templates.copy("android", folder, values)
        copy_artifact(artifact, folder / "src" / "main" / "assets" / "nano-banana")
        return ()


PLATFORM: Final = AndroidPlatform()
