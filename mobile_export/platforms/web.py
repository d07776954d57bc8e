"""The web: an ES module on onnxruntime-web, with a demo page and a browser extension."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from edge_runtime.manifest import MANIFEST_FILE
from mobile_export import templates
from mobile_export.platform import Notice, Order


class WebPlatform:
    """See `Platform`."""

    name = "web"
    summary = "An ES module for browsers, with a demo page and a browser extension."
    targets = ("onnx",)
    families = ("nano-banana",)
    options: Mapping[str, str] = MappingProxyType({})
    golden = "golden"

    def write(self, order: Order, folder: Path) -> tuple[Notice, ...]:
        """See `Platform.write`."""
        templates.copy("web", folder, {})
        artifact = order.artifact
        for file in (MANIFEST_FILE, *(part.file for part in artifact.manifest.files)):
            target = folder / "model" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifact.folder / file, target)
        return ()


PLATFORM: Final = WebPlatform()
