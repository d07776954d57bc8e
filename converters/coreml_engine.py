"""Runs Core ML artifacts on machines that have no Core ML, to compare them with others; never to serve edits.

It is no plug-in of `edge_runtime`: `nanoedge edit` and the server refuse such an artifact, as a slow run in torch is
not what anybody who asks for Core ML wants.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from converters.coreml.frontend import CARRIED
from converters.coreml.interpreter import Interpreter
from converters.coreml.package import CONTENTS, MODEL, WEIGHTS
from converters.coreml.running import run_described
from edge_runtime.engine import CheckedSession, Session
from edge_runtime.errors import ConversionError, EngineError
from edge_runtime.manifest import Component
from edge_runtime.tensors import Tensor, TensorSpec


class CoreMLInterpreterEngine:
    """The interpreter of converters/coreml behind the protocol of edge_runtime/engine.py; on the CPU alone."""

    name = "coreml_interpreter"
    targets = ("coreml",)
    device = "cpu"

    def open(
        self, path: Path, component: Component, *, threads: int, device: str = "cpu", seldom: bool = False
    ) -> Session:
        """See `Engine.open`. `path` is the table of contents inside the package; torch's own threads do the work."""
        if device != "cpu":
            raise EngineError("the interpreter of Core ML packages runs on the CPU", got=device, allowed="cpu")
        _check_files(component)
        try:
            interpreter = Interpreter(path.parent)
        except ConversionError as error:
            raise EngineError(f"the package of {component.name} can't be opened", got=error) from error
        description = interpreter.specification.description
        _compare(description.input, component.inputs, f"inputs of {component.name}")
        _compare(description.output, component.outputs, f"outputs of {component.name}")
        sides = (component.inputs, component.outputs)

        def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return run_described(interpreter, inputs, sides)

        return CheckedSession(component, run)


def _check_files(component: Component) -> None:
    """Raise EngineError unless what the interpreter reads are files whose digests were in the manifest."""
    folder, _, name = component.file.rpartition("/")
    data = {part.file.removeprefix(f"{folder}/") for part in component.data}
    if name != CONTENTS or MODEL not in data or not data <= {MODEL, WEIGHTS}:
        raise EngineError(
            f"{component.name} is not a Core ML package",
            got=", ".join(part.file for part in component.files),
            allowed=f"NAME.mlpackage/{CONTENTS} with {MODEL} and {WEIGHTS}",
        )


def _compare(found: Any, specs: tuple[TensorSpec, ...], what: str) -> None:
    names, described = [side.name for side in found], [spec.name for spec in specs if spec.dtype in CARRIED]
    if sorted(names) != sorted(described) or len(described) != len(specs):
        raise EngineError(
            f"the package's {what} differ from the manifest",
            got=", ".join(names),
            allowed=", ".join(map(str, specs)),
            hint="convert the model again",
        )


ENGINE: Final = CoreMLInterpreterEngine()
