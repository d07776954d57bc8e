"""Conversion at the published models' true size: seconds, parameters a second, private memory.

    python -m benchmarks.convert_scale [kontext] [dreamlite] [klein] [--work FOLDER] [--recipes int4-plain,int4]

Writes checkpoints with random bfloat16 weights (Kontext's transformer is 24 GB, klein's whole pipeline 16 GB), converts
them with the command's own driver and removes them again. `kontext` is the transformer of 11.9 billion parameters; the
parts around it are tiny. `klein` is whole, and its converted transformer then does one step in ONNX Runtime.
Memory is RssAnon of the process that converts a component, its highest value, looked at every 20 ms.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.table import markdown
from benchmarks.true_shapes import PARTS, write_checkpoint
from converters.pipeline import PipelineConversion, PipelineRequest, convert_pipeline
from converters.progress import ProgressBar
from edge_runtime.engine import engine_for
from edge_runtime.inspection import example_inputs, example_sizes
from edge_runtime.machine import Machine

SMALLEST_PARAMETERS: Final = 1_000_000
"""Components below it are the tiny ones around."""


def main() -> None:
    """Convert the chosen models and print one table each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", choices=[[], *PARTS], help="[default: all]")
    parser.add_argument("--work", type=Path, help="where checkpoints and artifacts are written [default: temporary]")
    parser.add_argument("--recipes", default="int4-plain,int4")
    parser.add_argument("--measured", action="store_true", help="compare with torch too, which takes a second reading")
    arguments = parser.parse_args()
    for name in arguments.models or PARTS:
        if arguments.work is not None:
            arguments.work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            run(name, Path(folder), arguments.recipes.split(","), arguments.measured)


def run(name: str, folder: Path, recipes: list[str], measured: bool) -> None:
    """Write one model's checkpoint, convert it with every recipe and print the table."""
    checkpoint = folder / "checkpoint"
    started = time.perf_counter()
    write_checkpoint(name, checkpoint)
    print(f"\n{name}: checkpoint written in {time.perf_counter() - started:.0f} s", flush=True)
    rows = []
    for recipe in recipes:
        clock = Clock()
        request = PipelineRequest(
            checkpoint=str(checkpoint), destination=folder / "artifact", recipe=recipe, measured=measured
        )
        conversion = convert_pipeline(request, clock)
        for component, layers in conversion.layers.items():
            parameters = sum(layer["values"] for layer in layers)
            if parameters > SMALLEST_PARAMETERS:
                rows.append(_row(recipe, component, parameters, conversion, clock))
        if name == "klein" and recipe == recipes[0]:
            step(conversion)
        shutil.rmtree(folder / "artifact")
    print(markdown(("recipe", "component", "parameters", "s", "M a second", "private MB", "GB out"), rows), flush=True)


def _row(recipe: str, name: str, parameters: int, conversion: PipelineConversion, clock: Clock) -> tuple[str, ...]:
    seconds = clock.seconds[name]
    size = conversion.artifact.manifest.component(name).total_bytes
    peak = conversion.peak_bytes[name]
    return (
        recipe, name, f"{parameters / 1e6:,.0f} M", f"{seconds:.0f}", f"{parameters / seconds / 1e6:.0f}",
        f"{peak / 1e6:,.0f}", f"{size / 1e9:.2f}",
    )  # fmt: skip


class Clock:
    """Takes the driver's progress, shows it, and keeps the seconds from a component's first line to the next one's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._bar = ProgressBar()
        self._title, self._began = "", time.perf_counter()

    def __call__(self, title: str, line: dict[str, Any]) -> None:
        """Take a line of `converters.pipeline`."""
        now = time.perf_counter()
        name = title.rpartition("] ")[2]
        if name != self._title:
            self._title, self._began = name, now
        self.seconds[name] = now - self._began
        self._bar(title, line)


def step(conversion: PipelineConversion) -> None:
    """Open the converted denoiser in ONNX Runtime and run one step."""
    component = conversion.artifact.manifest.component("denoiser")
    started = time.perf_counter()
    engine = engine_for("onnx")
    path = conversion.artifact.path("denoiser")
    with engine.open(path, component, threads=Machine.detect().cores) as session:
        opened = time.perf_counter()
        outputs = session.run(example_inputs(component, example_sizes(conversion.artifact, component)))
    ran = time.perf_counter()
    finite = all(np.isfinite(array).all() for array in outputs.values())
    print(f"klein's denoiser in ONNX Runtime: opened in {opened - started:.0f} s, one step {ran - opened:.1f} s, "
          f"finite: {finite}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
