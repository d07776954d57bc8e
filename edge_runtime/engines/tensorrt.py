"""TensorRT, the engine for NVIDIA's boards: builds an engine of each block where it runs, once, and keeps it.

Works with TensorRT 10.3 (JetPack 6.2) and newer; the names it uses were compared with the bindings of 10.3.0 and
10.16.1. What parses and builds was run with TensorRT for RTX, whose builder needs no GPU (docs/tensorrt.md); what runs
an engine, the last two functions here and edge_runtime/cuda_driver.py, has not been run: no GPU was at hand.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_runtime.blocks import WORKSPACE_BYTES, Block, read_blocks, run_in_order
from edge_runtime.cuda_driver import CudaDevice
from edge_runtime.engine import CheckedSession, Session
from edge_runtime.engine_cache import BuiltFor, EngineCache
from edge_runtime.errors import EngineError
from edge_runtime.manifest import Component
from edge_runtime.onnx_file import check_external_data
from edge_runtime.tensors import Tensor

LIBRARY: Final = "tensorrt"
DEVICE: Final = "cuda"
OLDEST: Final = (10, 3)


class TensorRTEngine:
    """Opens folders of typed graphs. `device` is cuda."""

    name = "tensorrt"
    targets = ("tensorrt",)
    device = DEVICE

    def open(
        self, path: Path, component: Component, *, threads: int, device: str = DEVICE, seldom: bool = False
    ) -> Session:
        """See `Engine.open`. `path` is the table of contents; `threads` are the GPU's own affair."""
        if device != DEVICE:
            raise EngineError("TensorRT runs on a GPU alone", got=device, allowed=DEVICE, hint="ask for device cuda")
        library = load_library()
        gpu = CudaDevice()
        blocks = read_blocks(path, component)
        sizes = {part.name: part.bytes for part in component.data}
        for block in blocks:
            check_external_data(path.parent / block.file, sizes)
        cache = EngineCache()
        runs = [_Run(library, gpu, block, _engine(library, gpu, cache, path, component, block)) for block in blocks]

        def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return run_in_order(component, blocks, runs, inputs)

        return CheckedSession(component, run)


def load_library() -> Any:
    """Return TensorRT's Python package; raises EngineError when it is missing or too old."""
    allowed = f"TensorRT {'.'.join(map(str, OLDEST))} or newer with its Python package, and an NVIDIA GPU"
    hint = (
        "JetPack brings it (python3-libnvinfer); elsewhere pip install tensorrt-cu12. Without a GPU take an artifact "
        "for onnx; nanoedge compare checks this one on the CPU"
    )
    found = importlib.util.find_spec(LIBRARY)
    if found is None or found.loader is None:  # a folder of this name is no library
        raise EngineError("TensorRT is not installed here", got=f"no package {LIBRARY}", allowed=allowed, hint=hint)
    library = importlib.import_module(LIBRARY)
    if tuple(int(part) for part in library.__version__.split(".")[:2]) < OLDEST:
        raise EngineError("this TensorRT is too old", got=library.__version__, allowed=allowed, hint=hint)
    return library


def build(library: Any, graph: Path, block: Block) -> bytes:
    """Build one block's engine, strongly typed; raises EngineError with what the parser or the builder says."""
    builder, network, said = parsed(library, graph)
    plan = builder.build_serialized_network(network, _configured(library, builder, block))
    if plan is None:
        raise EngineError(
            f"TensorRT can't build an engine of {graph.name}", got="; ".join(said[-3:]) or "no reason given",
            hint="close what else uses memory; for smaller blocks convert again with --block-mb",
        )  # fmt: skip
    return bytes(plan)


def parsed(library: Any, graph: Path) -> tuple[Any, Any, list[str]]:
    """Return a builder, the strongly typed network of a graph, and where errors of both collect; raises EngineError."""
    said: list[str] = []
    logger = _logger(library, said)
    builder = library.Builder(logger)
    network = builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        said += [parser.get_error(place).desc() for place in range(parser.num_errors)]
        raise EngineError(f"TensorRT can't read {graph.name}", got="; ".join(said), hint="convert the model again")
    return builder, network, said


def _configured(library: Any, builder: Any, block: Block) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if block.profiles:
        shapes = builder.create_optimization_profile()
        for name, profile in block.profiles.items():
            shapes.set_shape(name, profile.smallest, profile.best, profile.largest)
        config.add_optimization_profile(shapes)
    return config


def _logger(library: Any, said: list[str]) -> Any:
    """Return a logger that keeps warnings and errors for a message of our own."""

    class Keeping(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity <= library.ILogger.Severity.ERROR:
                said.append(text[:200])

    return Keeping()


def _engine(library: Any, gpu: CudaDevice, cache: EngineCache, path: Path, component: Component, block: Block) -> bytes:
    """Return a block's engine, from the cache or built now."""
    digests = sorted(f"{part.file} {part.sha256}" for part in component.data)
    shapes = json.dumps({name: profile.to_json() for name, profile in block.profiles.items()}, sort_keys=True)
    wanted = BuiltFor(
        gpu=gpu.name, capability=gpu.capability, tensorrt=library.__version__, driver=gpu.driver, shapes=shapes,
        model=hashlib.sha256("\n".join([block.file, *digests]).encode()).hexdigest(),
    )  # fmt: skip
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"{component.name}-{place}-{Path(block.file).stem}"
    return cache.engine(name, wanted, lambda: build(library, path.parent / block.file, block))


class _Run:
    """One block's engine in the GPU's memory. One run at a time: an execution context is for one."""

    def __init__(self, library: Any, gpu: CudaDevice, block: Block, engine: bytes) -> None:
        self._gpu, self._block, self._lock = gpu, block, threading.Lock()
        self._said: list[str] = []
        self._runtime = library.Runtime(_logger(library, self._said))  # must outlive its engine
        self._engine: Any = self._runtime.deserialize_cuda_engine(engine)
        self._context: Any = None if self._engine is None else self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"the engine of block {block.file} can't be opened", got="; ".join(self._said))

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with self._lock:
            self._gpu.use()
            addresses: list[int] = []
            try:
                return self._run(inputs, addresses)
            finally:
                for address in addresses:
                    self._gpu.free(address)

    def _run(self, inputs: Mapping[str, Tensor], addresses: list[int]) -> dict[str, Tensor]:
        for name, array in inputs.items():
            address = self._place(name, array.nbytes, addresses)
            self._gpu.upload(address, array)
            if not self._context.set_input_shape(name, array.shape):
                raise self._refusal(name, array.shape)
        outputs = {
            spec.name: np.empty(tuple(self._context.get_tensor_shape(spec.name)), spec.dtype)
            for spec in self._block.outputs
        }
        places = {name: self._place(name, array.nbytes, addresses) for name, array in outputs.items()}
        if not self._context.execute_async_v3(self._gpu.stream):
            raise EngineError(f"TensorRT can't run block {self._block.file}", got="; ".join(self._said[-3:]))
        self._gpu.wait()
        for name, array in outputs.items():
            self._gpu.download(places[name], array)
        return outputs

    def _place(self, name: str, size_bytes: int, addresses: list[int]) -> int:
        addresses.append(self._gpu.allocate(size_bytes))
        self._context.set_tensor_address(name, addresses[-1])
        return addresses[-1]

    def _refusal(self, name: str, shape: Sequence[int]) -> EngineError:
        profile = self._block.profiles.get(name)
        allowed = f"{profile.smallest} to {profile.largest}" if profile else "the shape of the manifest"
        return EngineError(
            f"no engine was built for this shape of {name}", got=tuple(shape), allowed=allowed,
            hint="edit a smaller picture, or convert the model again",
        )  # fmt: skip


ENGINE: Final = TensorRTEngine()
