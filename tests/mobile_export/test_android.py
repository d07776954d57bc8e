"""The Android bundle: written, compiled, and run on a JVM, with the real LiteRT behind stand-ins (kotlin/stubs)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversation import Message, Tensor, text
from programs import Answer, Program
from toolchains import Kotlin

from edge_runtime import golden
from edge_runtime.artifact import Artifact, write_artifact
from edge_runtime.editor import EMBEDDED
from mobile_export.bundle import Bundle, export
from mobile_export.platform import Order
from mobile_export.platforms.android import PLATFORM
from mobile_export.templates import TEMPLATES

HERE = Path(__file__).parent
KOTLIN_FILES = sorted((TEMPLATES / "android").rglob("*.kt"))
ASSETS = "src/main/assets"


class LiteRTDevice:
    """What the stand-in for LiteRT's Java classes asks for, by a file's digest: its signatures, and runs of them."""

    def __init__(self, artifact: Artifact) -> None:
        self._files = {part.sha256: artifact.path(part.name) for part in artifact.manifest.components}
        self._interpreters: dict[str, Any] = {}
        self.runs: dict[str, int] = {}
        self.answers: Mapping[str, Answer] = {"interpreter": self._answered}

    def _answered(self, message: Message) -> Message:
        _, digest, question, *key = message.words
        interpreter = self._interpreter(digest)
        if question == "describe":
            lines = [line for name in interpreter.get_signature_list() for line in _described(interpreter, name)]
            return Message(words=["described"], tensors={"signatures": text("\n".join(lines))})
        name = f"{self._files[digest].stem} {key[0]}"
        self.runs[name] = self.runs.get(name, 0) + 1
        given: dict[str, Tensor] = {name: value for name, value in message.tensors.items() if name != "-"}
        return Message(words=["ran"], tensors=interpreter.get_signature_runner(key[0])(**given))

    def _interpreter(self, digest: str) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        if digest not in self._interpreters:
            self._interpreters[digest] = Interpreter(model_path=str(self._files[digest]), num_threads=2)
        return self._interpreters[digest]


def _described(interpreter: Any, signature: str) -> list[str]:
    runner = interpreter.get_signature_runner(signature)
    sides = {"input": runner.get_input_details(), "output": runner.get_output_details()}
    return [
        f"{signature} {side} {name} {np.dtype(entry['dtype']).name} {'x'.join(map(str, entry['shape']))}"
        for side, entries in sides.items() for name, entry in entries.items()
    ]


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


def compiled(kotlin: Kotlin, folder: Path, bundle: Path) -> list[str]:
    """Compile everything in the bundle, its tests too, and return the program that runs those."""
    jar = folder / "device.jar"
    kotlin.compile([bundle / "src", HERE / "kotlin"], jar)
    assets, vectors = bundle / ASSETS, bundle / PLATFORM.golden
    main = "nanoedge.banana.check.MainKt"
    return kotlin.command(jar, main, resources=[assets, vectors], assets=assets, golden=vectors)


def _leaves(value: object) -> list[float]:
    if isinstance(value, Mapping):
        return [leaf for member in value.values() for leaf in _leaves(member)]
    return [value] if isinstance(value, (int, float)) else []
