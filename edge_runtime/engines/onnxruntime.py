"""ONNX Runtime, the engine for every CPU and, with the matching wheel, for some accelerators.

The session options were measured with ONNX Runtime 1.32, 2 threads, a virtual machine: a graph that filters pictures of
0.3 to 4 megapixels (MP), a vision network of fixed shape, a text network. Memory is resident and above the start.

    setting                             CPU time, 2 MP picture   held afterwards   peak
    arena, memory pattern (defaults)    220 ms                   679 MB            679 MB
    arena, no pattern                   220 ms                   541 MB            541 MB
    no arena, no pattern                470 ms                   290 to 360 MB     580 to 640 MB
    arena, every run gives it back      440 ms                   100 MB            430 MB
    arena, large runs give it back      410 ms                   94 MB             464 MB
    ... and the picture in 1 MP strips  200 ms                   117 MB            117 MB

A run that gives its memory back makes the next one pay for fresh pages: up to double for large runs (virtual machines
pay most), nothing to see for small networks. Threads that spin between runs cost 60 ms of CPU time per 5 ms run every
50 ms, instead of 11 ms, for the same latency. So: arena on, pattern off, spinning off, and runs above LARGE_RUN_BYTES
give back what they used. A family that renders in strips below it is fast and small at once.

Weights of 8-bit products are arranged for the processor at opening, in memory of their own and by one thread. What runs
once an edit is opened without that; here Qwen3-VL-2B as DreamLite has it, 359 tokens, 1.4 GB:

    setting                     opening   run          private memory
    arranged at opening         2.3 s     1.1 to 1.4 s   1,447 MB
    as they lie in the file     0.4 s     1.3 to 1.5 s     101 MB
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state

from edge_runtime.artifact import locate
from edge_runtime.engine import LARGE_RUN_BYTES, CheckedSession, Session
from edge_runtime.errors import ArtifactError, EngineError
from edge_runtime.manifest import Component
from edge_runtime.onnx_file import check_external_data
from edge_runtime.tensors import Tensor, TensorSpec

UNPACKED_BYTES: Final = 16 << 20
"""Largest graph, data files and all, whose quantised weights are unpacked at opening if its arithmetic is in float."""

_QUIET: Final = 4  # only fatal messages: everything else arrives as an exception
_PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
_DTYPES: Final = {"tensor(float)": "float32"}  # all others carry NumPy's name: tensor(uint8)
# ONNX Runtime's own exceptions have no common base class; which exist depends on the version.
_FAILURES: Final[tuple[type[Exception], ...]] = (
    RuntimeError,
    ValueError,
    MemoryError,
    *(
        kind
        for kind in vars(onnxruntime_pybind11_state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
)


class OnnxRuntimeEngine:
    """Opens ONNX graphs. `device` is one of cpu, cuda, tensorrt, openvino, coreml, directml."""

    name = "onnxruntime"
    targets = ("onnx",)
    device = "cpu"

    def devices(self) -> tuple[str, ...]:
        """Return the devices that this wheel was built for; whether one is there shows when it is opened."""
        available = onnxruntime.get_available_providers()
        return tuple(name for name, provider in _PROVIDERS.items() if provider in available)

    def open(
        self, path: Path, component: Component, *, threads: int, device: str = "cpu", seldom: bool = False
    ) -> Session:
        """See `Engine.open`. `threads` share the work of one run; 1 or more."""
        if threads < 1:
            raise EngineError("the number of threads is not usable", got=threads, allowed="1 or more")
        provider = _provider(device)
        data_bytes = _data_sizes(path, component)
        check_external_data(path, data_bytes)
        try:
            options = _session_options(threads)
            nodes = _beginning(path)
            if _is_small_and_float(path, nodes, sum(data_bytes.values())):
                # unpacked once at opening instead of in every run, which cost a tenth of the text network's time
                options.add_session_config_entry("session.disable_quant_qdq", "1")
            if seldom and b"MatMulInteger" in nodes:  # nearly as fast from a mapped file
                options.add_session_config_entry("session.disable_prepacking", "1")
            # by its path, never by its bytes: tensors in data files are then mapped into memory instead of read
            session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        except _FAILURES as error:
            raise EngineError(
                f"ONNX Runtime can't open {component.name}", got=error, hint=f"the file is {path}"
            ) from error
        _check_active(session.get_providers(), provider)
        _check_graph(session.get_inputs(), component.inputs, f"inputs of {component.name}")
        _check_graph(session.get_outputs(), component.outputs, f"outputs of {component.name}")
        return CheckedSession(component, _Run(session, component))


def _data_sizes(path: Path, component: Component) -> dict[str, int]:
    """Return name and size in bytes of the data files beside the graph `path`; raises EngineError."""
    sizes = {}
    for part in component.data:
        try:
            sizes[part.name] = locate(path.parent, part.name).stat().st_size
        except (ArtifactError, OSError) as error:
            raise EngineError(
                f"a data file of {component.name} can't be used", got=error, hint="copy the artifact again"
            ) from error
        if part.bytes and sizes[part.name] != part.bytes:
            raise EngineError(
                f"a data file of {component.name} has the wrong size",
                got=f"{part.name}, {sizes[part.name]} bytes",
                allowed=f"{part.bytes} bytes",
                hint="copy the artifact again",
            )
    return sizes


def _beginning(path: Path) -> bytes:
    """Return what stands before the tensors in a graph's file, which may hold gigabytes of them: its nodes."""
    with path.open("rb") as file:
        return file.read(UNPACKED_BYTES)


def _is_small_and_float(path: Path, nodes: bytes, data_bytes: int) -> bool:
    """Return whether only weights are quantised, and few enough of them to hold as float."""
    return path.stat().st_size + data_bytes <= UNPACKED_BYTES and b"QuantizeLinear" not in nodes


class _Run:
    """One run of a session that has been checked; `CheckedSession` calls it."""

    def __init__(self, session: Any, component: Component) -> None:
        self._session = session
        self._component = component
        self._outputs = [spec.name for spec in component.outputs]
        self._options = _run_options()
        self._large_options = _run_options()
        self._large_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        large = 2 * sum(array.nbytes for array in inputs.values()) > LARGE_RUN_BYTES
        try:
            results = self._session.run(self._outputs, dict(inputs), self._large_options if large else self._options)
        except _FAILURES as error:
            raise EngineError(f"ONNX Runtime can't run {self._component.name}", got=error) from error
        return dict(zip(self._outputs, results, strict=True))


def _session_options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # never by the file's name: a name in .ort would bring in a format that nothing has checked
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = _QUIET
    return options


def _run_options() -> Any:
    options = onnxruntime.RunOptions()
    options.log_severity_level = _QUIET
    return options


def _provider(device: str) -> str:
    usable = ENGINE.devices()
    if device not in usable:
        raise EngineError(
            "this ONNX Runtime can't use the device",
            got=device,
            allowed=", ".join(usable),
            hint="choose another device, or install the onnxruntime wheel for this one",
        )
    return _PROVIDERS[device]


def _check_active(active: Sequence[str], wanted: str) -> None:
    """Raise EngineError unless `wanted` comes first: ONNX Runtime falls back to the CPU with only a log line."""
    if not active or active[0] != wanted:
        raise EngineError(
            "ONNX Runtime opened the graph on another device",
            got=", ".join(active) or "none",
            allowed=wanted,
            hint="check the device's driver and libraries, or ask for device cpu",
        )


def _check_graph(nodes: Sequence[Any], specs: Sequence[TensorSpec], what: str) -> None:
    """Compare names and dtypes; shapes are compared in every run, because graphs often don't state them."""
    actual = {node.name: _DTYPES.get(node.type, node.type.removeprefix("tensor(").rstrip(")")) for node in nodes}
    declared = {spec.name: spec.dtype for spec in specs}
    if actual != declared:
        raise EngineError(
            f"the graph's {what} differ from the manifest",
            got=_listed(actual),
            allowed=_listed(declared),
            hint="convert the model again",
        )


def _listed(tensors: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in sorted(tensors.items())) or "none"


ENGINE: Final = OnnxRuntimeEngine()
