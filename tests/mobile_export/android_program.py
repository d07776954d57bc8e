"""The Android bundle as a program on a JVM: its tests, with the real LiteRT behind stand-ins for its Java classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from conversation import Message, Tensor, text
from programs import Answer
from toolchains import Kotlin

from edge_runtime.artifact import Artifact

HERE: Final = Path(__file__).parent
ASSETS: Final = "src/main/assets"


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


def compile_bundle(kotlin: Kotlin, bundle: Path, folder: Path) -> Path:
    """Compile everything in the bundle, its tests too, and return the jar."""
    jar = folder / "device.jar"
    kotlin.compile([bundle / "src", HERE / "kotlin"], jar)
    return jar


def bundle_command(kotlin: Kotlin, jar: Path, bundle: Path, vectors: Path) -> list[str]:
    """Return the command that runs the bundle's tests with these golden vectors."""
    assets = bundle / ASSETS
    main = "nanoedge.banana.check.MainKt"
    return kotlin.command(jar, main, resources=[assets, vectors], assets=assets, golden=vectors)
