"""One graph through every tool that quantises ONNX weights to 4 bits, and ours: seconds and private memory.

    python -m benchmarks.convert_peers [--layers 24] [--turns 2]

Each tool runs in a process of its own, import and saving included, on the same graph with external data: linear layers
of 4096 x 4096 in float32. One more row is our way from a checkpoint: the same weights as safetensors, the graph
captured from torch first.
Needs `pip install nncf` for two of the rows; without it they are left out and said to be. Memory is private (RssAnon),
highest value, looked at every 5 ms from outside.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.table import markdown

WIDTH: Final = 4096
FIRST: Final = "weights.safetensors"


def main() -> None:
    """Print the table; called with a tool's name, run that tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--turns", type=int, default=2, help="the shortest time of so many counts")
    parser.add_argument("--work", type=Path, default=None, help="folder for the graphs [default: a temporary one]")
    parser.add_argument("--tool", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tool:
        TOOLS[arguments.tool](arguments.work, arguments.layers)
        return
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        compare(Path(folder), arguments.layers, arguments.turns)


def compare(folder: Path, layers: int, turns: int) -> None:
    """Run every tool and print seconds, memory, and both over ours."""
    write_graph(folder, layers)
    found: dict[str, tuple[float, int]] = {}
    for name in TOOLS:
        if name.startswith("nncf") and importlib.util.find_spec("nncf") is None:
            print(f"{name}: left out, nncf is not installed")
            continue
        runs = [measured([sys.executable, "-m", "benchmarks.convert_peers", "--tool", name, "--layers", str(layers),
                          "--work", str(folder)]) for _ in range(turns)]  # fmt: skip
        found[name] = min(seconds for seconds, _ in runs), max(size for _, size in runs)
    weights = 4 * layers * WIDTH * WIDTH
    seconds, size = found["ours, plain"]
    rows = [
        (
            name, f"{taken:.1f}", f"{seconds / taken:.2f}", f"{peak / 1e6:,.0f}", f"{size / peak:.2f}",
            f"{peak / weights:.2f}",
        )
        for name, (taken, peak) in found.items()
    ]  # fmt: skip
    print(f"{layers} layers of {WIDTH} x {WIDTH}, {weights / 1e6:,.0f} MB in float32")
    print(markdown(("tool", "s", "ours / its time", "peak MB", "ours / its peak", "peak / weights"), rows))


def measured(command: list[str]) -> tuple[float, int]:
    """Run a command and return its seconds and the most private bytes that it held; exits when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, private_bytes(process.pid))
        time.sleep(0.005)
    seconds = time.perf_counter() - started
    if process.returncode:
        assert process.stderr is not None
        sys.exit(f"{' '.join(command)} failed:\n{process.stderr.read()[-2000:]}")
    return seconds, peak


def private_bytes(process: int) -> int:
    """Return the memory of a process that no file backs, 0 when it has gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def write_graph(folder: Path, layers: int) -> None:
    """Write the same layers as model.onnx with external data and as safetensors."""
    import onnx
    from onnx import TensorProto, helper
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    weights = {f"{i}.weight": rng.standard_normal((WIDTH, WIDTH), np.float32) * np.float32(0.02) for i in range(layers)}
    save_file(weights, folder / FIRST)
    nodes, tensors, offset = [], [], 0
    with (folder / "model.data").open("wb") as data:
        for i in range(layers):
            tensor = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH])
            tensor.data_location = TensorProto.EXTERNAL
            size = 4 * WIDTH * WIDTH
            for key, value in (("location", "model.data"), ("offset", offset), ("length", size)):
                tensor.external_data.add(key=key, value=str(value))
            data.write(np.ascontiguousarray(weights.pop(f"{i}.weight").T).tobytes())
            offset += size
            tensors.append(tensor)
            nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"], f"matmul_{i}"))
    shape = [1, "tokens", WIDTH]
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, shape)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, folder / "model.onnx")


def ours(folder: Path, layers: int, recipe: str) -> None:
    """Round the graph."""
    from converters.graph_file import round_graph
    from converters.recipe import load_recipe

    with tempfile.TemporaryDirectory(dir=folder) as out:
        round_graph(folder / "model.onnx", Path(out) / "ours.onnx", load_recipe(recipe))


def ours_from_torch(folder: Path, layers: int) -> None:
    """Capture the layers from torch and stream the safetensors."""
    import torch

    from converters.capture import capture
    from converters.recipe import load_recipe
    from converters.shards import open_shards
    from converters.source import ComponentSource
    from converters.streaming import write_component
    from edge_runtime.tensors import TensorSpec

    def module() -> torch.nn.Module:
        return torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(layers)))

    side = TensorSpec(name="x", dtype="float32", shape=(1, "tokens", WIDTH))
    component = ComponentSource(
        name="layers",
        module=module,
        inputs=(side,),
        outputs=(TensorSpec(name="y", dtype="float32", shape=side.shape),),
        examples=({"x": np.ones((1, 2, WIDTH), np.float32)},),
        dimensions={"tokens": (2, 4096)},
        weights=open_shards(folder),
    )
    with tempfile.TemporaryDirectory(dir=folder) as out:
        write_component(capture(component), component, load_recipe("int4-plain"), Path(out))


def ort_nbits(folder: Path, layers: int) -> None:
    """onnxruntime's 4-bit quantiser, default algorithm, blocks of 32 with zero points."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantiser = MatMulNBitsQuantizer(onnx.load(folder / "model.onnx"), block_size=32, is_symmetric=False)
    quantiser.process()
    quantiser.model.save_model_to_file(str(folder / "nbits.onnx"), use_external_data_format=True)


def ort_static(folder: Path, layers: int) -> None:
    """onnxruntime's static 8-bit quantiser with one sample."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class One(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest: list[dict[str, Any]] = [{"x0": np.ones((1, 8, WIDTH), np.float32)}]

        def get_next(self) -> dict[str, Any] | None:
            return self.rest.pop() if self.rest else None

    quantize_static(
        folder / "model.onnx", folder / "static.onnx", One(), weight_type=QuantType.QInt8, use_external_data_format=True
    )


def nncf_memory(folder: Path, layers: int) -> None:
    """NNCF with the whole model in memory."""
    import nncf
    import onnx

    model = nncf.compress_weights(
        onnx.load(folder / "model.onnx"), mode=nncf.CompressWeightsMode.INT4_ASYM, group_size=32, ratio=1.0,
        all_layers=True,
    )  # fmt: skip
    onnx.save(model, folder / "nncf.onnx", save_as_external_data=True, location="nncf.data")


def nncf_external(folder: Path, layers: int) -> None:
    """NNCF with its external data folder."""
    import nncf
    import onnx
    from nncf.onnx.graph.onnx_helper import get_tensor  # noqa: F401  (fails early where the layout is another)
    from nncf.onnx.quantization.backend_parameters import BackendParameters

    model = nncf.compress_weights(
        onnx.load(folder / "model.onnx", load_external_data=False), mode=nncf.CompressWeightsMode.INT4_ASYM,
        group_size=32, ratio=1.0, all_layers=True,
        advanced_parameters=nncf.AdvancedCompressionParameters(
            backend_params={BackendParameters.EXTERNAL_DATA_DIR: str(folder)}
        ),
    )  # fmt: skip
    onnx.save(model, folder / "nncf-external.onnx", save_as_external_data=True, location="nncf-external.data")


TOOLS: Final = {
    "ours, plain": lambda folder, layers: ours(folder, layers, "int4-plain"),
    "ours, searched": lambda folder, layers: ours(folder, layers, "int4"),
    "ours, plain, from torch": ours_from_torch,
    "onnxruntime MatMulNBits": ort_nbits,
    "onnxruntime static (8 bits)": ort_static,
    "nncf in memory": nncf_memory,
    "nncf external data": nncf_external,
}

if __name__ == "__main__":
    main()
