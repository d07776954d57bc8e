"""How fast an edit could be at most: its multiplications by the fastest kernels there are for this processor.

    python -m benchmarks.product_rates ARTIFACT [--side 512] [--steps 4]

Edits once with an ONNX artifact of a painting model, and takes from ONNX Runtime's profiler the shape of every matrix
product and convolution that ran, and its time. Then every shape runs alone, in turns, and the fastest of the repeats
counts: in PyTorch in bfloat16, and, where it is installed (`pip install openvino`), in OpenVINO, which has oneDNN's
kernels, with weights and activations of 8 bits over fixed ranges. Its activations come and leave as codes, products of
attention in float. ONNX Runtime's take floats, round them by row and give floats, so that its column holds more.
"fastest of each" takes the winner for every shape: what an edit would take if all but multiplications cost nothing,
reading the weights included.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np

from benchmarks.edit_profile import KINDS, MULTIPLYING, operators
from benchmarks.table import markdown
from edge_runtime.heap import limit_heap
from edge_runtime.machine import Machine

REPEATS: Final = 7
OURS: Final = "ONNX Runtime, in the edit"
FASTEST: Final = "fastest of each"
_CONVOLUTIONS: Final = KINDS["convolutions"]
_FEWEST: Final = 1_000_000
"""Multiplications of fewer multiply-adds than this are left out: being called costs them more."""


@dataclass(frozen=True)
class Product:
    """Two stacks of matrices to multiply: `left` (..., M, K) and `right` (..., K, N)."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    weights: bool
    """Whether `right` is known before the edit."""

    @property
    def kind(self) -> str:
        """The name of its row in the table."""
        return "products with weights" if self.weights else "products of attention"

    @property
    def multiply_adds(self) -> int:
        """How many multiplications it takes, each followed by an addition."""
        return math.prod(self.left) * self.right[-1]


@dataclass(frozen=True)
class Convolution:
    """A convolution of `photo` (N, C, H, W) with `kernel` (O, C / groups, height, width)."""

    photo: tuple[int, int, int, int]
    kernel: tuple[int, int, int, int]
    stride: int
    kind: str = "convolutions"

    @property
    def groups(self) -> int:
        """Into how many parts the channels fall."""
        return self.photo[1] // self.kernel[1]

    @property
    def multiply_adds(self) -> int:
        """How many multiplications it takes, each followed by an addition."""
        pixels = self.photo[0] * (self.photo[2] // self.stride) * (self.photo[3] // self.stride)
        return pixels * math.prod(self.kernel)


Multiplication = Product | Convolution


def main() -> None:
    """Edit once, run every shape and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args()
    limit_heap()
    asked = (arguments.artifact, arguments.side, arguments.steps)
    times, shapes = operators(*asked), operators(*asked, packed=False)
    spent: dict[Multiplication, list[float]] = defaultdict(list)
    for name, runs in times.items():
        for multiplication, seconds in multiplications(shapes[name], runs):
            spent[multiplication].append(seconds)
    means = {OURS: {shape: fmean(each) for shape, each in spent.items()}} | measured(list(spent))
    means[FASTEST] = {shape: min(each[shape] for each in means.values()) for shape in spent}
    print(_table({shape: len(each) for shape, each in spent.items()}, means))


def multiplications(runs: list[dict[str, Any]], timed: list[dict[str, Any]]) -> Iterator[tuple[Multiplication, float]]:
    """Yield what the operators of one edit multiplied, and the seconds that each took in another edit."""
    names = {name for kind in MULTIPLYING for name in KINDS[kind]}
    for run, other in zip(runs, timed, strict=True):
        if run["op_name"] not in names:
            continue
        shapes = [tuple(next(iter(shape.values()))) for shape in run["input_type_shape"]]
        made = tuple(next(iter(run["output_type_shape"][0].values())))
        found: Multiplication
        if run["op_name"] in _CONVOLUTIONS:
            found = _convolution(shapes[0], next(shape for shape in shapes[1:] if len(shape) == 4), made)
        else:
            *stack, rows, columns = made  # FusedMatMul turns what goes in, so that its inputs' shapes have any order
            inner = math.prod(shapes[0]) // math.prod((*stack, rows))
            weights = len(shapes[1]) == 2
            found = Product((*stack, rows, inner), (*(() if weights else stack), inner, columns), weights)
        if found.multiply_adds >= _FEWEST:
            yield found, other["microseconds"] / 1e6


def _convolution(photo: tuple[int, ...], kernel: tuple[int, ...], made: tuple[int, ...]) -> Convolution:
    last = made[-1] == kernel[0] and made[1] != kernel[0]  # ONNX Runtime turns channels to the last place for 8 bits
    count, channels, height, width = (photo[0], photo[3], *photo[1:3]) if last else photo
    rows = made[1] if last else made[2]
    return Convolution((count, channels, height, width), kernel, max(1, round(height / rows)))  # type: ignore[arg-type]


def measured(shapes: list[Multiplication]) -> dict[str, dict[Multiplication, float]]:
    """Return each library's seconds for every shape."""
    libraries: dict[str, Callable[[Multiplication], Callable[[], object]]] = {"PyTorch, bfloat16": _torch}
    with suppress(ImportError):
        import openvino  # noqa: F401

        libraries["OpenVINO, codes to codes"] = _openvino
    found: dict[str, dict[Multiplication, float]] = {name: {} for name in libraries}
    for number, shape in enumerate(shapes, 1):
        print(f"\r{number} of {len(shapes)} shapes", end="", file=sys.stderr, flush=True)
        calls = {name: make(shape) for name, make in libraries.items()}
        for _ in range(REPEATS):
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                spent = time.perf_counter() - began
                found[name][shape] = min(spent, found[name].get(shape, spent))
    print(file=sys.stderr)
    return found


def _torch(shape: Multiplication) -> Callable[[], object]:
    import torch

    torch.set_num_threads(Machine.detect().cores)
    if isinstance(shape, Convolution):
        photo = torch.randn(shape.photo, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
        kernel = torch.randn(shape.kernel, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
        border = shape.kernel[2] // 2
        return lambda: torch.nn.functional.conv2d(photo, kernel, None, shape.stride, border, 1, shape.groups)
    left, right = (torch.randn(each, dtype=torch.bfloat16) for each in (shape.left, shape.right))
    if shape.weights:
        turned = right.T.contiguous()  # as torch keeps weights
        return lambda: torch.nn.functional.linear(left, turned)
    return lambda: left @ right


def _openvino(shape: Multiplication) -> Callable[[], object]:
    import openvino

    wanted = {"INFERENCE_NUM_THREADS": Machine.detect().cores, "PERFORMANCE_HINT": "LATENCY"}
    core = openvino.Core()
    run = core.compile_model(core.read_model(io.BytesIO(_graph(shape))), "CPU", wanted)
    request = run.create_infer_request()
    for port in run.inputs:
        request.get_tensor(port).data[:] = np.random.default_rng(7).integers(0, 255, port.shape)
    return request.infer


def _graph(shape: Multiplication) -> bytes:
    """Return an ONNX graph of one multiplication: codes by weights to codes, or floats by floats."""
    from onnx import TensorProto, helper, numpy_helper

    left, right = (shape.photo, shape.kernel) if isinstance(shape, Convolution) else (shape.left, shape.right)
    in_codes = isinstance(shape, Convolution) or shape.weights
    kind = TensorProto.UINT8 if in_codes else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", kind, left)]
    constants, nodes = [], []
    x, w, y = "x", "w", "y"
    if in_codes:
        codes = np.random.default_rng(7).integers(-64, 64, right).astype(np.int8)
        for name, values in (
            ("w", codes), ("step", np.array(0.05, np.float32)), ("coarse", np.array(2, np.float32)),
            ("zero", np.array(128, np.uint8)), ("none", np.array(0, np.int8)),
        ):  # fmt: skip
            constants.append(numpy_helper.from_array(values, name))
        nodes.append(helper.make_node("DequantizeLinear", ["x", "step", "zero"], ["x_values"]))
        nodes.append(helper.make_node("DequantizeLinear", ["w", "step", "none"], ["w_values"]))
        x, w, y = "x_values", "w_values", "y_values"
    else:
        inputs.append(helper.make_tensor_value_info("w", kind, right))
    if isinstance(shape, Convolution):
        border = [shape.kernel[2] // 2] * 4
        settings: dict[str, Any] = {"pads": border, "strides": [shape.stride] * 2, "group": shape.groups}
        nodes.append(helper.make_node("Conv", [x, w], [y], **settings))
    else:
        nodes.append(helper.make_node("MatMul", [x, w], [y]))
    if in_codes:
        nodes.append(helper.make_node("QuantizeLinear", [y, "coarse", "zero"], ["y"]))
    graph = helper.make_graph(
        nodes, "multiplication", inputs, [helper.make_tensor_value_info("y", kind, None)], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


def _table(counts: dict[Multiplication, int], seconds: dict[str, dict[Multiplication, float]]) -> str:
    columns = (  # of every shape
        {shape: count * shape.multiply_adds / 1e12 for shape, count in counts.items()},
        *({shape: count * each[shape] for shape, count in counts.items()} for each in seconds.values()),
    )
    rows = []
    for kind in dict.fromkeys(shape.kind for shape in counts):
        sums = (sum(value for shape, value in column.items() if shape.kind == kind) for column in columns)
        rows.append((kind, *(f"{total:.2f}" for total in sums)))
    rows.append(("together", *(f"{sum(column.values()):.2f}" for column in columns)))
    return markdown(("s an edit", "10^12 multiply-adds", *seconds), rows)


if __name__ == "__main__":
    main()
