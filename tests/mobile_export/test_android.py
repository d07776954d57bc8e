"""The Android bundle as it is written; test_built_bundles.py compiles and runs it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from android_program import ASSETS

from edge_runtime import golden
from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.editor import EMBEDDED
from mobile_export.bundle import Bundle, export
from mobile_export.platform import Order
from mobile_export.platforms.android import PLATFORM
from mobile_export.templates import TEMPLATES

KOTLIN_FILES = sorted((TEMPLATES / "android").rglob("*.kt"))


@pytest.fixture(scope="module")
def disguised(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The embedded model under the names of TFLite files: enough for what only copies them."""
    embedded = Artifact.open(EMBEDDED)
    components = tuple(
        replace(part, file=f"{part.name}.tflite", data=()) for part in embedded.manifest.components
    )
    manifest = replace(embedded.manifest, target="tflite", components=components)
    files = {part.name: embedded.path(part.name) for part in embedded.manifest.components}
    return write_artifact(tmp_path_factory.mktemp("artifact") / "disguised", manifest, files)


@pytest.fixture(scope="module")
def bundle(disguised: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "nano-banana-android"
    return export(PLATFORM, Order(artifact=disguised), folder, lambda to: golden.write(Artifact.open(EMBEDDED), to))


def test_the_bundle_has_code_model_vectors_and_licences(bundle: Bundle, disguised: Artifact) -> None:
    files = {path.relative_to(bundle.folder).as_posix() for path in bundle.folder.rglob("*") if path.is_file()}
    model = f"{ASSETS}/nano-banana"
    assert {f"{model}/{part.file}" for part in disguised.manifest.files} | {f"{model}/manifest.json"} <= files
    assert {"build.gradle.kts", "consumer-rules.pro", "README.md", "NOTICE.md", "SIZES.md"} <= files
    assert {"src/main/AndroidManifest.xml", "src/main/kotlin/nanoedge/banana/core/Editing.kt"} <= files
    assert json.loads((bundle.folder / PLATFORM.golden / "golden.json").read_text())["edits"]
    readme = (bundle.folder / "README.md").read_text()
    assert disguised.version in readme and "ran on no Android\ndevice" in readme


def test_no_number_of_the_manifest_stands_in_the_code(disguised: Artifact) -> None:
    settings = {**disguised.manifest.settings, "vocabulary": {}}
    common = {"0.1", "0.5", "4", "16"}  # mean other things too
    numbers = {f"{value:.15g}" for value in _leaves(settings)} - common
    code = re.sub(r"//[^\n]*", "", "\n".join(file.read_text() for file in KOTLIN_FILES))
    assert "704" in numbers
    assert [number for number in numbers if re.search(rf"(?<![\w.]){re.escape(number)}(?![\w.])", code)] == []


def test_the_code_reads_as_one_thing_a_file() -> None:
    assert max(len(file.read_text().splitlines()) for file in KOTLIN_FILES) <= 230


def _leaves(value: object) -> list[float]:
    if isinstance(value, Mapping):
        return [leaf for member in value.values() for leaf in _leaves(member)]
    return [value] if isinstance(value, (int, float)) else []
