"""Runs TensorRT artifacts without TensorRT, to compare them with others; never to serve edits.

The typed graphs are run by ONNX Runtime on the CPU, with halves rounded where a GPU would round them
(converters/tensorrt/rounded.py). That checks the artifact, not NVIDIA's kernels. On a GPU it is
`edge_runtime/engines/tensorrt.py` that runs them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import onnx_ir as ir

from converters.tensorrt.elements import infer_elements
from converters.tensorrt.rounded import rounded
from edge_runtime.blocks import Block, read_blocks, run_in_order
from edge_runtime.engine import CheckedSession, Session
from edge_runtime.engines.onnxruntime import ENGINE as ONNXRUNTIME
from edge_runtime.errors import ArtifactError, EngineError
from edge_runtime.manifest import Component, DataFile
from edge_runtime.onnx_file import check_external_data
from edge_runtime.tensors import Tensor

_TENSORS: Final = "rounded.data"


class TypedGraphEngine:
    """ONNX Runtime behind the protocol of edge_runtime/engine.py, for blocks; on the CPU alone."""

    name = "typed_graphs"
    targets = ("tensorrt",)
    device = "cpu"

    def open(
        self, path: Path, component: Component, *, threads: int, device: str = "cpu", seldom: bool = False
    ) -> Session:
        """See `Engine.open`. `path` is the table of contents."""
        if device != "cpu":
            raise EngineError("typed graphs are checked on the CPU", got=device, allowed="cpu")
        blocks = read_blocks(path, component)
        sessions = [_open(path.parent, block, component, threads) for block in blocks]
        return CheckedSession(component, _Chain(component, blocks, sessions))


class _Chain:
    def __init__(self, component: Component, blocks: Sequence[Block], sessions: Sequence[Session]) -> None:
        self._component, self._blocks, self._sessions = component, blocks, sessions

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return run_in_order(self._component, self._blocks, [session.run for session in self._sessions], inputs)


def _open(folder: Path, block: Block, component: Component, threads: int) -> Session:
    """Open the rounded form of one block; its files are gone once ONNX Runtime has them."""
    check_external_data(folder / block.file, data_sizes(folder, component))
    try:
        model = ir.load(folder / block.file)
    except Exception as error:  # noqa: BLE001  (protobuf's and onnx-ir's own errors have no common base)
        raise EngineError(f"block {block.file} of {component.name} can't be read", got=error) from error
    infer_elements(model, component.name)
    rounded(model)
    for node in model.graph:
        for value in node.outputs:
            if value not in model.graph.outputs:
                value.shape = value.type = None
    with tempfile.TemporaryDirectory(prefix="nanoedge-") as work:
        graph = Path(work) / block.file
        ir.save(model, graph, external_data=_TENSORS)
        data = (DataFile(file=_TENSORS),) if (Path(work) / _TENSORS).exists() else ()
        described = Component(
            name=component.name, file=block.file, precision="any", inputs=block.inputs, outputs=block.outputs, data=data
        )
        return ONNXRUNTIME.open(graph, described, threads=threads)


def data_sizes(folder: Path, component: Component) -> dict[str, int]:
    """Return name and size of the component's files beside the table of contents; raises EngineError."""
    place = component.file.rpartition("/")[0]
    try:
        names = [part.file.removeprefix(f"{place}/") for part in component.data]
        return {name: (folder / name).stat().st_size for name in names}
    except (ArtifactError, OSError) as error:
        raise EngineError(f"a file of {component.name} can't be used", got=error, hint="copy it again") from error


ENGINE: Final = TypedGraphEngine()
