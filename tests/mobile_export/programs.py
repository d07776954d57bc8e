"""The code of a phone bundle as a program on this machine, with the graphs that it asks for run by an engine here."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from conversation import Message, Tensor, receive, send, text
from PIL import Image
from toolchains import INSIDE

from edge_runtime.artifact import Artifact
from edge_runtime.engine import engine_for
from edge_runtime.manifest import Component

Answer = Callable[[Message], Message]
Run = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An edit of a photo, uint8 (height, width, 4), by words or by a plan; the mask likewise, or None."""

    name: str
    photo: Tensor = field(repr=False)
    instruction: str | None = None
    plan: Mapping[str, Any] | None = None
    mask: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    pixels: Tensor
    notes: Sequence[str]
    stages: Sequence[str]


class GraphRunner:
    """Runs an artifact's graphs, each opened when it is first asked for, and adds up the `seconds` of the runs."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact, self.seconds = artifact, 0.0
        self._open = ExitStack()
        self._runs: dict[str, Run] = {}

    def run(self, name: str, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if name not in self._runs:
            self._runs[name] = self._opened(name)
        start = time.perf_counter()
        outputs = self._runs[name](inputs)
        self.seconds += time.perf_counter() - start
        return outputs

    def asked(self, message: Message) -> Message:
        """Answer `run NAME` with the graph's outputs."""
        return Message(words=["ran"], tensors=self.run(message.words[1], message.tensors))

    def close(self) -> None:
        self._open.close()

    def _opened(self, name: str) -> Run:
        component, path = self.artifact.manifest.component(name), self.artifact.path(name)
        if self.artifact.manifest.target == "coreml":
            return _interpreted(path.parent, component)
        engine = engine_for(self.artifact.manifest.target)
        return self._open.enter_context(engine.open(path, component, threads=2)).run


class Program:
    """A running program; what it asks for on its way to an answer is answered by the first of its words."""

    def __init__(self, command: Sequence[str | Path], answers: Mapping[str, Answer]) -> None:
        self._answers = answers
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        self._input = self._process.stdin

    def send(self, message: Message) -> None:
        send(self._input, message)

    def answer(self) -> Message:
        """Answer questions until something else comes, and return that; raises AssertionError when it ends."""
        while (message := receive(self._process)).words[0] in self._answers:
            send(self._input, self._answers[message.words[0]](message))
        return message

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._input.close()
        if error is not None:
            self._process.kill()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


class EditingProgram:
    """The core of a bundle, which does edits one after another."""

    def __init__(self, command: Sequence[str | Path], artifact: Artifact) -> None:
        self.graphs = GraphRunner(artifact)
        self._program = Program(command, {"run": self.graphs.asked})
        manifest = (artifact.folder / "manifest.json").read_text("utf-8")
        self._program.send(Message(words=["manifest"], tensors={"manifest": text(manifest)}))

    def edit(self, order: Order) -> Edited:
        """Do one edit; raises AssertionError with the program's message when it refuses."""
        wanted = {"photo": order.photo, "mask": order.mask}
        tensors = {name: value for name, value in wanted.items() if value is not None}
        words = json.dumps(order.plan) if order.plan is not None else order.instruction
        tensors["instruction" if order.plan is None else "plan"] = text(words or "")
        self._program.send(Message(words=["edit"], tensors=tensors))
        answer = self._program.answer()
        if answer.words[0] == "failed":
            raise AssertionError(answer.text("message"))
        return Edited(
            pixels=answer.tensors["picture"], notes=answer.text("notes").splitlines(),
            stages=answer.text("stages").split(),
        )

    def __enter__(self) -> EditingProgram:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.__exit__(kind, error, trace)
        self.graphs.close()


def _interpreted(package: Path, component: Component) -> Run:
    """Run a Core ML package in the converter's interpreter, as nothing else on this system does."""
    from converters.coreml.interpreter import Interpreter
    from converters.coreml.running import run_described

    interpreter, sides = Interpreter(package), (component.inputs, component.outputs)
    return lambda inputs: run_described(interpreter, inputs, sides)


class CoreMLDevice:
    """What the stand-ins for Apple's libraries ask for: predictions of packages, and decoded pictures.

    `root` is the folder that programs know as INSIDE. A package is told by the name of its folder.
    """

    def __init__(self, graphs: GraphRunner, root: Path) -> None:
        self._graphs, self._root = graphs, root
        self.answers: Mapping[str, Answer] = {"predict": self._predicted, "decode": self._decoded}

    def _predicted(self, message: Message) -> Message:
        package = Path(message.text("package")).name
        component = self._graphs.artifact.manifest.component(package.removesuffix(".mlpackage"))
        given = {name: value for name, value in message.tensors.items() if name != "package"}
        specs = {spec.name: np.dtype(spec.dtype) for spec in component.inputs}
        if unfit := [name for name, value in given.items() if value.dtype == np.uint8 or name not in specs]:
            return Message(words=["refused"], tensors={"message": text(f"Core ML takes no such input: {unfit}")})
        outputs = self._graphs.run(component.name, {name: value.astype(specs[name]) for name, value in given.items()})
        return Message(words=["predicted"], tensors={name: value.astype(np.float32) for name, value in outputs.items()})

    def _decoded(self, message: Message) -> Message:
        with Image.open(self._root / Path(message.text("path")).relative_to(INSIDE)) as picture:
            return Message(words=["decoded"], tensors={"picture": np.array(picture.convert("RGBA"))})


def png(pixels: Tensor) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def psnr(one: Tensor, other: Tensor) -> float:
    """Decibels between two pictures, all four channels; infinite for equal ones, 0 for other sizes."""
    if one.shape != other.shape:
        return 0.0
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
