"""Stands in for TensorRT's Python package where there is no GPU: the names that the engine uses, over ONNX Runtime.

It runs graphs on addresses of driver.c, which are the host's, and keeps to the rules that the engine must keep: a
strongly typed network, shapes inside the profile, an address for every tensor.
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import numpy as np
import onnxruntime

__version__ = "10.3.0"
builds = 0


class ILogger:
    class Severity:
        ERROR = 1

    def log(self, severity: int, text: str) -> None: ...


class NetworkDefinitionCreationFlag:
    STRONGLY_TYPED = 1


class MemoryPoolType:
    WORKSPACE = 0


class _Error:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class _Network:
    path = ""


class OnnxParser:
    num_errors = 0

    def __init__(self, network: _Network, logger: ILogger) -> None:
        self._network = network

    def parse_from_file(self, path: str) -> bool:
        self._network.path = path
        if b"stand-in refuses" in Path(path).read_bytes():
            self.num_errors = 1
            return False
        return True

    def get_error(self, place: int) -> _Error:
        return _Error(f"fault {place}")


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, name: str, low: tuple[int, ...], best: tuple[int, ...], high: tuple[int, ...]) -> None:
        self.shapes[name] = [low, best, high]


class _Config:
    profile = None

    def set_memory_pool_limit(self, pool: int, size: int) -> None:
        assert size > 0

    def add_optimization_profile(self, profile: _Profile) -> None:
        self.profile = profile


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> _Network:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        global builds
        builds += 1
        if "impossible" in network.path:
            self._logger.log(ILogger.Severity.ERROR, "no room for any kernel")
            return None
        shapes = {} if config.profile is None else config.profile.shapes
        return json.dumps({"path": network.path, "shapes": shapes}).encode()


class Runtime:
    def __init__(self, logger: ILogger) -> None: ...

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        return _Engine(json.loads(plan)) if plan.startswith(b"{") else None


class _Engine:
    def __init__(self, plan: dict) -> None:
        self._plan = plan

    def create_execution_context(self) -> _Context:
        return _Context(self._plan)


class _Context:
    def __init__(self, plan: dict) -> None:
        self._session = onnxruntime.InferenceSession(plan["path"], providers=["CPUExecutionProvider"])
        self._profile = plan["shapes"]
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._profile.get(name, [shape] * 3)
        self._shapes[name] = tuple(shape)
        return all(least <= size <= most for least, size, most in zip(low, shape, high, strict=True))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._computed()[name].shape

    def execute_async_v3(self, stream: int) -> bool:
        for name, array in self._computed().items():
            ctypes.memmove(self._addresses[name], np.ascontiguousarray(array).ctypes.data, array.nbytes)
        return stream == 0x51

    def _computed(self) -> dict[str, np.ndarray]:
        feeds = {node.name: self._read(node) for node in self._session.get_inputs()}
        names = [node.name for node in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, feeds), strict=True))

    def _read(self, node: onnxruntime.NodeArg) -> np.ndarray:
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
        made = np.empty(self._shapes[node.name], kinds[node.type])
        ctypes.memmove(made.ctypes.data, self._addresses[node.name], made.nbytes)
        return made
