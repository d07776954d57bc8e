"""LiteRT, the engine for TFLite files on CPUs: ai-edge-litert, or tflite-runtime where a device has that.

Float graphs and 8- and 4-bit weights with activations rounded on the fly run in XNNPACK, which both libraries apply
by themselves. Graphs have fixed shapes (`edge_runtime.fitting`). tflite-runtime 2.14 needs NumPy below 2: with a newer
one it can be imported, and fails when the first interpreter is made.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_runtime.engine import CheckedSession, Session
from edge_runtime.errors import EngineError
from edge_runtime.fitting import Signature, read_signature, smallest
from edge_runtime.manifest import Component
from edge_runtime.tensors import Tensor, check_inputs
from edge_runtime.tflite_file import check_flatbuffer

LIBRARIES: Final = ("ai_edge_litert", "tflite_runtime")
"""In the order of preference."""

LAST_LIBRARY: Final = LIBRARIES[-1]
"""It is no longer developed."""

_LIBRARY: Final = next((name for name in LIBRARIES if importlib.util.find_spec(name)), LIBRARIES[0])
_INTERPRETER: Final = importlib.import_module(f"{_LIBRARY}.interpreter")
# what the bindings raise depends on the version, and on whether NumPy is one that they were built for
_FAILURES: Final = (ValueError, RuntimeError, SystemError, MemoryError, TypeError, ImportError)


class LiteRTEngine:
    """Opens TFLite files. `device` is cpu."""

    name = "litert"
    targets = ("tflite",)
    device = "cpu"

    def open(
        self, path: Path, component: Component, *, threads: int, device: str = "cpu", seldom: bool = False
    ) -> Session:
        """See `Engine.open`. `threads` share the work of one run; 1 or more."""
        if threads < 1:
            raise EngineError("the number of threads is not usable", got=threads, allowed="1 or more")
        if device != "cpu":
            raise EngineError("LiteRT can't use the device here", got=device, allowed="cpu", hint="ask for device cpu")
        check_flatbuffer(path, component.sha256)
        if _LIBRARY == LAST_LIBRARY and "int4" in component.precision:  # it ends the process
            raise EngineError(
                f"{_LIBRARY} has no kernels for 4-bit weights", got=f"{component.name} in {component.precision}",
                allowed="fp32, int8", hint="install ai-edge-litert, or convert the model with recipe int8",
            )
        try:
            interpreter = _INTERPRETER.Interpreter(model_path=str(path), num_threads=threads)
            signatures = _signatures(interpreter, component)
        except _FAILURES as error:
            raise EngineError(
                f"{_LIBRARY} can't open {component.name}", got=error, hint=_advice() or f"the file is {path}"
            ) from error
        return CheckedSession(component, _Run(interpreter, component, signatures))


class _Run:
    """One run of a session that has been checked; `CheckedSession` calls it. Interpreters are for one thread."""

    def __init__(self, interpreter: Any, component: Component, signatures: Sequence[Signature]) -> None:
        self._component, self._signatures = component, signatures
        self._runners = {found.name: interpreter.get_signature_runner(found.name) for found in signatures}
        self._lock = threading.Lock()

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        sizes = check_inputs(self._component.inputs, inputs)
        signature = smallest(self._component, self._signatures, sizes)
        feeds = signature.fit(self._component, inputs, sizes)
        try:
            with self._lock:
                outputs = self._runners[signature.name](**feeds)
        except _FAILURES as error:
            raise EngineError(f"{_LIBRARY} can't run {self._component.name}", got=error) from error
        return signature.cut(self._component, outputs, sizes)


def _signatures(interpreter: Any, component: Component) -> list[Signature]:
    names = list(interpreter.get_signature_list())
    if not names:
        raise EngineError(f"the file of {component.name} has no signature", hint="convert the model again")
    return [read_signature(component, name, _tensors(interpreter.get_signature_runner(name))) for name in names]


def _tensors(runner: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return name -> dtype and shape of all inputs and outputs."""
    details = {**runner.get_input_details(), **runner.get_output_details()}
    return {
        name: (np.dtype(entry["dtype"]).name, tuple(int(size) for size in entry["shape"]))
        for name, entry in details.items()
    }


def _advice() -> str:
    """Tell what to install where the library can't work with this NumPy whatever the file."""
    if _LIBRARY == LAST_LIBRARY and int(np.__version__.partition(".")[0]) >= 2:
        return f"tflite-runtime needs NumPy below 2, and this is {np.__version__}: install numpy<2, or ai-edge-litert"
    return ""


ENGINE: Final = LiteRTEngine()
