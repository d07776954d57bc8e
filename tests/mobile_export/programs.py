"""The core of a phone bundle as a program on this machine, and its edits beside those of the Python runtime."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from conversation import Message, Tensor, receive, send, text
from PIL import Image

from edge_runtime.artifact import Artifact
from edge_runtime.engine import Session, engine_for


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
    graphs: Sequence[str]
    stages: Sequence[str]


class EditingProgram:
    """A running program that does edits and asks for graphs, which an engine here runs."""

    def __init__(self, command: Sequence[str | Path], artifact: Artifact) -> None:
        self._artifact = artifact
        self._open = ExitStack()
        self._sessions: dict[str, Session] = {}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        self._input = self._process.stdin
        manifest = (artifact.folder / "manifest.json").read_text("utf-8")
        send(self._input, Message(words=["manifest"], tensors={"manifest": text(manifest)}))

    def edit(self, order: Order) -> Edited:
        """Do one edit; raises AssertionError with the program's message when it refuses."""
        wanted = {"photo": order.photo, "mask": order.mask}
        tensors = {name: value for name, value in wanted.items() if value is not None}
        words = json.dumps(order.plan) if order.plan is not None else order.instruction
        tensors["instruction" if order.plan is None else "plan"] = text(words or "")
        send(self._input, Message(words=["edit"], tensors=tensors))
        graphs: list[str] = []
        while (answer := receive(self._process)).words[0] == "run":
            graphs.append(answer.words[1])
            outputs = self._session(answer.words[1]).run(answer.tensors)
            send(self._input, Message(words=["ran"], tensors=outputs))
        if answer.words[0] == "failed":
            raise AssertionError(answer.text("message"))
        return Edited(
            pixels=answer.tensors["picture"], notes=answer.text("notes").splitlines(), graphs=graphs,
            stages=answer.text("stages").split(),
        )

    def _session(self, name: str) -> Session:
        if name not in self._sessions:
            component = self._artifact.manifest.component(name)
            engine = engine_for(self._artifact.manifest.target)
            session = engine.open(self._artifact.path(name), component, threads=2)
            self._sessions[name] = self._open.enter_context(session)
        return self._sessions[name]

    def __enter__(self) -> EditingProgram:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._input.close()
        if error is not None:
            self._process.kill()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._open.close()


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
