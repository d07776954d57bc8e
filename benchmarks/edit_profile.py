"""Where the time of an edit goes: milliseconds of each kind of operator in each part of a painting model's artifact.

    python -m benchmarks.edit_profile ARTIFACT [--side 512] [--steps 4]

ONNX Runtime's own profiler counts; it takes some time itself, for graphs of thousands of small operators up to a tenth.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.edit_scale import edit_request
from benchmarks.table import markdown
from edge_runtime.artifact import Artifact
from edge_runtime.editor import Editor
from edge_runtime.engines import onnxruntime
from edge_runtime.heap import limit_heap

UNPACKING: Final = "unpacking of 4 bits"
"""Operators on bytes, by which codes of 4 bits become codes of 8 (converters/product_forms.py)."""

KINDS: Final = {
    "products of 8 bits": ("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger"),
    "products of 4 bits": ("MatMulNBits", "MatMulBnb4"),
    "products in float": ("MatMul", "FusedMatMul", "Gemm", "FusedGemm"),
    "convolutions": ("QLinearConv", "Conv", "FusedConv", "NhwcFusedConv"),
    "softmax": ("Softmax",),
    "norms": ("LayerNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization", "InstanceNormalization"),
    "rounding": ("DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear", "Abs", "ReduceMax", "Div"),
    "moving": ("Transpose", "Split", "Concat", "Slice", "Expand", "Resize", "ReorderInput", "ReorderOutput"),
    UNPACKING: ("QLinearAdd",),
}
MULTIPLYING: Final = tuple(KINDS)[:4]
REST: Final = "all else"
_KIND_OF: Final = {operator: kind for kind, operators in KINDS.items() for operator in operators}
_ON_BYTES: Final = frozenset(("Concat", "Cast", "Sub", "Mul"))
_BYTES: Final = frozenset(("uint8", "int8"))
_ENDING: Final = "_kernel_time"


def main() -> None:
    """Edit once and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args()
    limit_heap()
    found = profile(arguments.artifact, arguments.side, arguments.steps)
    kinds = [kind for kind in (*KINDS, REST) if any(each[kind] for each in found.values())]
    rows = [(kind, *(f"{each[kind]:,.0f}" for each in found.values())) for kind in kinds]
    rows.append(("together", *(f"{sum(each.values()):,.0f}" for each in found.values())))
    print(markdown(("ms", *found), rows))
    multiplied = sum(each[kind] for each in found.values() for kind in MULTIPLYING)
    print(f"\nProducts and convolutions: {multiplied / sum(sum(each.values()) for each in found.values()):.0%} of all.")


def profile(artifact: Path, side: int, steps: int) -> dict[str, dict[str, float]]:
    """Return the milliseconds of each kind of operator by part, in the manifest's order."""
    return {name: _times(runs) for name, runs in operators(artifact, side, steps).items()}


def operators(artifact: Path, side: int, steps: int, *, packed: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Edit once and return what ONNX Runtime's profiler wrote of every operator that ran, by part.

    Weights that a kernel arranged at opening (`packed`) have no shape there.
    """
    sessions: dict[str, Any] = {}
    opening = onnxruntime._Run.__init__

    def opened(run: Any, session: Any, component: Any) -> None:
        opening(run, session, component)
        sessions[component.name] = session

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime._session_options

        def profiled(threads: int) -> Any:
            made = options(threads)
            made.enable_profiling = True
            made.profile_file_prefix = str(Path(folder) / "part")
            if not packed:
                made.add_session_config_entry("session.disable_prepacking", "1")
            return made

        onnxruntime._session_options = profiled
        onnxruntime._Run.__init__ = opened  # type: ignore[method-assign]
        with Editor.open(artifact) as editor:
            editor.edit(edit_request(side, steps))
            parts = (component.name for component in Artifact.open(artifact, verify=False).manifest.components)
            written = {name: Path(sessions[name].end_profiling()) for name in parts if name in sessions}
            return {name: list(_runs(path)) for name, path in written.items()}


def _runs(path: Path) -> Iterator[dict[str, Any]]:
    for event in json.loads(path.read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith(_ENDING):
            yield event["args"] | {"microseconds": event["dur"]}


def _times(runs: list[dict[str, Any]]) -> dict[str, float]:
    times: dict[str, float] = defaultdict(float)
    for run in runs:
        times[_kind(run)] += run["microseconds"] / 1000
    return times


def _kind(run: dict[str, Any]) -> str:
    dtypes = {dtype for tensor in run["input_type_shape"] for dtype in tensor}
    if run["op_name"] in _ON_BYTES and dtypes and dtypes <= _BYTES:
        return UNPACKING
    return _KIND_OF.get(run["op_name"], REST)


if __name__ == "__main__":
    main()
