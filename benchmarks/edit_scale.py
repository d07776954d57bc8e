"""One edit by DreamLite-mobile at its true shape, beside diffusers with the same weights: seconds a stage, peak memory.

    python -m benchmarks.edit_scale [--work FOLDER] [--repeat 2] [--recipes int8,int4]

Writes a checkpoint with random bfloat16 weights (UNet 0.39 B, Qwen3-VL-2B, tiny autoencoder), converts it, and edits a
photograph at 512 x 512 in 4 steps. Every run is a process of its own, ours and diffusers' by turns, files in the
system's cache; of the repeats each stage's fastest counts. Opening and loading have a column of their own and are in
the total. Ours compares files with their digests in the first run alone, as in the first opening on a node.
Memory is VmHWM, the highest resident memory, mapped files included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from skimage import data

from benchmarks.table import markdown
from edge_runtime.machine import Machine
from edge_runtime.request import EditRequest, Size

SIDE: Final = 512
STEPS: Final = 4
WORDS: Final = "make it snowy"
BUDGET_BYTES: Final = 2_000_000_000
"""For the runs with bounded memory: what the parts that are open together may take."""

STAGES: Final = ("loading", "text", "photo", "denoise", "paint")


def main() -> None:
    """Run every contestant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="where checkpoint and artifacts are kept [default: temporary]")
    parser.add_argument("--recipes", default="int8,int4")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--one", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        kind, folder = arguments.one
        print(json.dumps(_ours(folder, kind) if kind.startswith("ours") else _diffusers(Path(folder), kind)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        compare(arguments.work or Path(temporary), arguments.recipes.split(","), arguments.repeat)


def compare(work: Path, recipes: list[str], repeat: int) -> None:
    """Write what is missing in the folder, run all by turns and print the table."""
    checkpoint = _prepared(work, recipes)
    contestants = [("ours", f"{recipe}", work / recipe) for recipe in recipes]
    contestants += [("ours-small", f"{recipe}, memory bounded", work / recipe) for recipe in recipes]
    contestants += [("float32", "diffusers, float32", checkpoint), ("bfloat16", "diffusers, bfloat16", checkpoint)]
    best: dict[str, dict[str, float]] = {}
    for _ in range(repeat):
        for kind, name, folder in contestants:
            found = _run(kind, folder)
            best[name] = _better(best.get(name, found), found)
            print(f"{name}: {sum_of(found):.1f} s, {found['peak_mb']:.0f} MB", file=sys.stderr, flush=True)
    peers = [found for name, found in best.items() if name.startswith("diffusers")]
    rows = []
    for name, found in best.items():
        whole, warm = (min(sum_of(peer, load) for peer in peers) / sum_of(found, load) for load in (True, False))
        seconds = [f"{found[stage]:.1f}" for stage in STAGES]
        rows.append((name, *seconds, f"{sum_of(found):.1f}", f"{whole:.2f}", f"{warm:.2f}", f"{found['peak_mb']:,.0f}"))
    head = ("", *STAGES, "total s", "faster peer / it", "without loading", "peak MB")
    print(markdown(head, rows), flush=True)
    share = max(found["previews"] for found in best.values() if "previews" in found)
    print(f"\nOur runs show a preview in every step: at most {share:.1%} of the time of all steps.")


def _better(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Return the fastest of each stage in two runs, and the most of all else."""
    return {name: (min if name in STAGES else max)(value, other[name]) for name, value in one.items()}


def sum_of(found: dict[str, float], loading: bool = True) -> float:
    """Return the seconds of an edit."""
    return sum(found[stage] for stage in STAGES if loading or stage != "loading")


def _prepared(work: Path, recipes: list[str]) -> Path:
    from benchmarks.true_shapes import write_checkpoint
    from converters.pipeline import PipelineRequest, convert_pipeline
    from converters.progress import ProgressBar

    checkpoint = work / "checkpoint"
    if not checkpoint.exists():
        write_checkpoint("dreamlite", checkpoint)
    for recipe in recipes:
        if not (work / recipe).exists():
            request = PipelineRequest(
                checkpoint=str(checkpoint), destination=work / recipe, recipe=recipe, measured=False
            )
            convert_pipeline(request, ProgressBar())
    return checkpoint


def _run(kind: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.edit_scale", "--one", kind, str(folder)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ended.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def _photograph() -> Image.Image:
    return Image.fromarray(np.asarray(data.astronaut())).resize((SIDE, SIDE))


def edit_request(side: int = SIDE, steps: int = STEPS, *, previews: bool = False) -> EditRequest:
    """Return the request for an edit of the photograph at this size."""
    stream = BytesIO()
    _photograph().resize((side, side)).save(stream, "PNG")
    return EditRequest(
        image=stream.getvalue(), instruction=WORDS, seed=7, steps=steps, size=Size(width=side, height=side),
        previews=previews,
    )  # fmt: skip


def _ours(folder: str, kind: str) -> dict[str, float]:
    """Edit through the public interface; opening is counted apart from the stage that it happens in."""
    from edge_runtime.diffusion.components import Components
    from edge_runtime.diffusion.preview import ColourMap
    from edge_runtime.editor import Editor
    from edge_runtime.heap import limit_heap

    limit_heap()  # as the command does
    loading = _Clock()
    Components._open = loading.around(Components._open)  # type: ignore[method-assign]
    previews = _Clock()
    for part in ("__init__", "__call__"):
        setattr(ColourMap, part, previews.around(getattr(ColourMap, part)))
    request = edit_request(previews=True)
    began = time.perf_counter()
    with Editor.open(folder, memory_bytes=BUDGET_BYTES if kind == "ours-small" else None) as editor:
        opened = time.perf_counter() - began
        stages: dict[str, float] = {}
        steps = editor.steps(request)
        stage, since, before = "", time.perf_counter(), 0.0
        while True:
            try:
                step = next(steps)
                following = step.stage
            except StopIteration:
                following = ""
            now = time.perf_counter()
            spent = now - since - (loading.seconds - before)
            stages[stage] = stages.get(stage, 0.0) + spent
            stage, since, before = following, now, loading.seconds
            if not following:
                break
    stages["paint"] += stages.get("encode", 0.0)
    seconds = {name: stages[name] for name in STAGES[1:]}
    share = previews.seconds / seconds["denoise"]
    return {"loading": opened + loading.seconds, **seconds, "peak_mb": peak_megabytes(), "previews": share}


def _diffusers(folder: Path, kind: str) -> dict[str, float]:
    import diffusers
    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "converters"))
    from tiny.qwen_vl import qwen3_processor

    torch.set_num_threads(Machine.detect().cores)
    began = time.perf_counter()
    pipe = diffusers.DreamLiteMobilePipeline.from_pretrained(
        folder, processor=qwen3_processor(folder / "processor"), torch_dtype=getattr(torch, kind)
    )
    loading = time.perf_counter() - began
    clocks = {name: _Clock() for name in STAGES[1:]}
    pipe.encode_prompt = clocks["text"].around(pipe.encode_prompt)
    pipe.vae.encode = clocks["photo"].around(pipe.vae.encode)
    pipe.unet.forward = clocks["denoise"].around(pipe.unet.forward)
    pipe.vae.decode = clocks["paint"].around(pipe.vae.decode)
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(7)
        pipe(prompt=WORDS, image=_photograph(), num_inference_steps=STEPS, generator=generator)
    return {"loading": loading, **{name: clock.seconds for name, clock in clocks.items()}, "peak_mb": peak_megabytes()}


class _Clock:
    """Adds up the seconds that calls take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def peak_megabytes() -> float:
    """Return the highest resident memory that this process had."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
