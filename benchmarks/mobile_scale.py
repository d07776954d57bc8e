"""DreamLite's UNet and autoencoder at their true shape as TFLite and Core ML: bytes, seconds, memory.

    python -m benchmarks.mobile_scale [--targets tflite,coreml] [--recipes int8,int4] [--size 512] [--work FOLDER]

Writes a checkpoint with random bfloat16 weights, converts it with the command's own driver, which compares every
component with torch, and removes it again. Memory is RssAnon of the process that converts a component, its highest
value, looked at every 20 ms; seconds are from its start to its end.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.convert_scale import Clock
from benchmarks.table import markdown
from benchmarks.true_shapes import write_checkpoint
from converters.pipeline import PipelineConversion, PipelineRequest, convert_pipeline
from edge_runtime.request import Size

MODEL: Final = "dreamlite"
PARTS: Final = ("unet", "vae")
COLUMNS: Final = ("target", "recipe", "component", "precision", "s", "private MB", "MB out", "lowest dB")


def main() -> None:
    """Convert once for every target and recipe and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", default="tflite,coreml")
    parser.add_argument("--recipes", default="int8,int4")
    parser.add_argument("--size", type=Size.parse, default="512", help="of the results, in pixels")
    parser.add_argument("--work", type=Path, help="where checkpoint and artifacts are written [default: temporary]")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        checkpoint = Path(folder) / "checkpoint"
        write_checkpoint(MODEL, checkpoint, PARTS)
        for target in arguments.targets.split(","):
            for recipe in arguments.recipes.split(","):
                request = PipelineRequest(
                    checkpoint=str(checkpoint), destination=Path(folder) / "artifact", recipe=recipe, target=target,
                    size=(arguments.size.width, arguments.size.height),
                )
                rows += converted(request)
    print(markdown(COLUMNS, rows), flush=True)


def converted(request: PipelineRequest) -> list[tuple[str, ...]]:
    """Convert and return a line for each component; each is printed as soon as it is known."""
    clock, started = Clock(), time.perf_counter()
    conversion = convert_pipeline(request, clock)
    rows = [_row(request, name, conversion, clock.seconds[name]) for name in conversion.quality]
    for row in rows:
        print("  ".join(row), flush=True)
    print(f"{request.target} {request.recipe}: {time.perf_counter() - started:.0f} s in all", flush=True)
    shutil.rmtree(request.destination)
    return rows


def _row(request: PipelineRequest, name: str, conversion: PipelineConversion, seconds: float) -> tuple[str, ...]:
    component = conversion.artifact.manifest.component(name)
    figures = conversion.quality[name]
    return (
        request.target, request.recipe, name, component.precision, f"{seconds:.0f}",
        f"{conversion.peak_bytes[name] / 1e6:,.0f}", f"{component.total_bytes / 1e6:,.1f}",
        f"{min(value for key, value in figures.items() if key.endswith('snr_db')):.1f}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
