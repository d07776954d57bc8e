"""The Android bundle: written, compiled, and run on a JVM, with the real LiteRT behind stand-ins (kotlin/stubs)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from conversation import Message, Tensor, text
from programs import Answer, Program
from toolchains import Kotlin

from edge_runtime.artifact import Artifact
from mobile_export.bundle import Bundle, export
from mobile_export.platform import Order
from mobile_export.platforms.android import PLATFORM
from mobile_export.templates import TEMPLATES

HERE = Path(__file__).parent
KOTLIN_FILES = sorted((TEMPLATES / "android").rglob("*.kt"))
ASSETS = "src/main/assets"


class LiteRTDevice:
    """What the stand-in for LiteRT's Java classes asks for: the signatures of a file, and runs of them."""

    def __init__(self, artifact: Artifact) -> None:
        self._files = {part.sha256: artifact.path(part.name) for part in artifact.manifest.components}
        self._runners: dict[tuple[str, str], object] = {}
        self.answers: Mapping[str, Answer] = {"interpreter": self._answered}
