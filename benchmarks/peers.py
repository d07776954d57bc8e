"""What else one would pick for parts of this work, on the same photographs and machine, in one run of one process.

    python -m benchmarks.peers [--data FOLDER] [--rounds 25] [--threads N] [--only graphs|denoise|adjustments]

Ratios of time to nano-banana's embedded int8 artifact in ONNX Runtime: above 1, the peer takes longer. Medians of
interleaved rounds in random order, 95 % intervals over rounds. `--data` has photographs held out from training
(docs/nano-banana.md); without it, denoising is measured on scikit-image's own. What is not installed is said.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import peers_pictures
from benchmarks.sibling import say, sibling
from benchmarks.table import markdown
from benchmarks.timing import Job, interleaved, timed, told
from converters.calibration import load_calibration
from converters.source import ComponentSource, run_module
from converters.sources.nano_banana import SOURCE
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.engines.onnxruntime import ENGINE
from edge_runtime.tensors import Tensor

COMPONENTS = ("text", "vision", "restore", "context", "render")
OURS = "int8, ONNX Runtime"
THREADS = 1
PACKAGES = {"openvino": "openvino", "cv2": "opencv-python-headless", "pywt": "pywavelets", "bm3d": "bm3d"}
"""Import names and what to install. The licence of bm3d forbids commercial use."""

Run = Callable[[], Mapping[str, Tensor]]


def missing() -> list[str]:
    """Return a line for every peer that is not installed."""
    return [
        f"{package} is not measured: it is not installed. pip install {package}"
        for module, package in PACKAGES.items() if find_spec(module) is None
    ]


def graphs(rounds: int, threads: int) -> str:
    """Return the table of components, each by every peer: ratio of time, and what differs from float torch."""
    torch.set_num_threads(threads)
    model = SOURCE.open(SOURCE.default_checkpoint, load_calibration(None))
    rows = []
    for component in model.components:
        if component.name in COMPONENTS:
            rows += _component(component, rounds, threads)
    return markdown(["graph", "by", "time, ours = 1", "largest difference from torch"], rows)


def _component(component: ComponentSource, rounds: int, threads: int) -> list[list[str]]:
    inputs = component.examples[0]
    reference = run_module(component.module(), component, inputs)
    runs: dict[str, Run] = {}
    for name, run in _runs(component, inputs, threads):
        say(f"{component.name}: preparing {name}")
        run()  # compiles, where something is compiled
        runs[name] = run
    say(f"{component.name}: measuring")
    jobs: dict[str, Job] = {name: timed(run, threads) for name, run in runs.items()}
    times = interleaved(jobs, rounds)
    return [
        [component.name, name, "1" if name == OURS else told(times[name], times[OURS]), _difference(run(), reference)]
        for name, run in runs.items()
    ]


def _runs(component: ComponentSource, inputs: Mapping[str, Tensor], threads: int) -> Iterator[tuple[str, Run]]:
    files = {"int8": EMBEDDED, "fp32": sibling("fp32")}
    for recipe, folder in files.items():
        artifact = Artifact.open(folder)
        path, described = artifact.path(component.name), artifact.manifest.component(component.name)
        session = ENGINE.open(path, described, threads=threads)
        yield f"{recipe}, ONNX Runtime", lambda session=session: session.run(inputs)  # type: ignore[misc]
        if find_spec("openvino"):
            names = [spec.name for spec in component.outputs]
            yield f"{recipe}, OpenVINO", _openvino(path, inputs, names, threads)
    module = component.module()
    yield "fp32, torch eager", lambda: run_module(module, component, inputs)
    compiled: Any = torch.compile(component.module(), dynamic=False)
    yield "fp32, torch compiled", lambda: run_module(compiled, component, inputs)


def _openvino(path: Path, inputs: Mapping[str, Tensor], names: Sequence[str], threads: int) -> Run:
    import openvino  # type: ignore[import-not-found,unused-ignore]  # by hand: pip install openvino

    core = openvino.Core()
    # bfloat16, its default where the processor has it, would be another computation than the others'
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(path), "CPU", settings)

    def run() -> Mapping[str, Tensor]:
        found = compiled(dict(inputs))
        return {name: np.asarray(found[name]) for name in names}

    return run


def _difference(outputs: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> str:
    """Return the largest difference, of bytes as such and of others as a share of the largest value."""
    shares = []
    for name, wanted in reference.items():
        error = float(np.abs(outputs[name].astype(np.float64) - wanted.astype(np.float64)).max())
        if wanted.dtype == np.uint8:
            return f"{error:.0f} of 255"
        shares.append(error / max(float(np.abs(wanted).max()), 1e-6))
    return f"{max(shares):.1e}"


def report(data: Path | None, rounds: int, threads: int, only: str = "") -> str:
    """Return all tables and what they were measured with."""
    sections: dict[str, tuple[str, Callable[[], str]]] = {
        "graphs": ("Graphs with the inputs of one photograph:", lambda: graphs(rounds, threads)),
        "denoise": ("Denoising, noise of sigma 25:", lambda: peers_pictures.denoising(data, threads)),
        "adjustments": (
            "Adjustments of a photograph of 1024 px, pixels to pixels. The peers compute other things by the same "
            "name: on encoded values, without regions; `five at once` is one pass of ours and five of theirs.",
            lambda: peers_pictures.adjustments(rounds, threads),
        ),
    }
    libraries = {"onnxruntime": "onnxruntime", "torch": "torch", "skimage": "scikit-image", "PIL": "pillow", **PACKAGES}
    installed = [f"{package} {version(package)}" for module, package in libraries.items() if find_spec(module)]
    clock = "1, by the processor's time" if threads == 1 else f"{threads}, by the clock"
    parts = [f"Threads of each: {clock}. {', '.join(installed)}.", *missing()]
    for name, (lead, measure) in sections.items():
        if only in ("", name):
            say(f"measuring {name}")
            parts += [lead, measure()]
    return "\n\n".join(parts)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with photos/, of which those held out from training are used")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=THREADS, help="of each peer (1: idle ones would disturb others)")
    parser.add_argument("--only", choices=["graphs", "denoise", "adjustments"], default="", help="one of the tables")
    options = parser.parse_args()
    print(report(options.data, options.rounds, options.threads, options.only))


if __name__ == "__main__":
    main()
