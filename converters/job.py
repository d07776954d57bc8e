"""Converts one component of a pipeline, in a process of its own: memory really returns when it ends.

Reads a `Task` as JSON from stdin and writes lines of JSON to stdout: steps, progress, and at last a result or an error.
The driver is converters/pipeline.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TextIO

from converters.work_folder import remove
from edge_runtime import __version__, plugins
from edge_runtime.errors import ConversionError, NanoedgeError
from edge_runtime.tensors import check_inputs

MODULES: Final = ("diffusers", "transformers")
TOOLS: Final = ("torch", "onnx-ir", "onnxscript", "onnxruntime")
MOST_NAMED: Final = 6
"""Layers that a note lists by name; notes are short."""

TENSORRT: Final = "tensorrt"
BLOCK_BYTES: Final = 512 << 20
"""Weights of a block for TensorRT: an engine of them takes up to 2 GiB to build, which a board of 8 GB has."""

FIXED: Final = ("tflite", "coreml")
"""Targets whose graphs have one size each: converters/pinned.py."""

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a process is to do: `component` empty is "describe the whole model".

    `size` is width and height of results in pixels, for a `target` of FIXED.
    """

    checkpoint: str
    recipe: str
    folder: str
    loras: tuple[str, ...] = ()
    calibration: str = ""
    memory_bytes: int = 4 << 30
    component: str = ""
    measured: bool = True
    target: str = "onnx"
    block_bytes: int = BLOCK_BYTES
    size: tuple[int, int] = (0, 0)


def main(source: TextIO = sys.stdin) -> None:
    """Do the task; exits with 1 after an error that was reported."""
    stdout = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print is no protocol

    def report(line: dict[str, Any]) -> None:
        stdout.write(json.dumps(line) + "\n")

    data = json.loads(source.readline())
    task = Task(**{**data, "loras": tuple(data["loras"]), "size": tuple(data["size"])})
    threading.Thread(target=_end_with, args=(source,), daemon=True).start()
    peak = _PeakMemory()
    try:
        result = convert(task, report) if task.component else describe(task)
    except NanoedgeError as error:
        report({"error": str(error), "kind": type(error).__name__})
        raise SystemExit(1) from None
    except OSError as error:
        report({"error": f"{error.strerror or error}: {error.filename or task.folder}", "kind": "ConversionError"})
        raise SystemExit(1) from None
    except Exception as error:  # noqa: BLE001  (libraries' own, from a configuration that nobody foresaw)
        if task.component:  # into the conversion's log
            traceback.print_exc()
        report({"error": str(_unforeseen(error, task)), "kind": "ConversionError"})
        raise SystemExit(1) from None
    report({"result": result, "peak_bytes": peak.bytes})


def _unforeseen(error: Exception, task: Task) -> ConversionError:
    what = f"{task.component} can't be converted" if task.component else "the checkpoint's configuration can't be used"
    lines = str(error).strip().splitlines() or [""]
    return ConversionError(
        what,
        got=f"{type(error).__name__}: {lines[0][:300]}",
        hint="is a configuration file damaged, or edited? If it is as published, this is a fault of nanoedge",
    )


def describe(task: Task) -> dict[str, Any]:
    """Return the model without its graphs, and the forecast of every component."""
    from converters.forecast import forecast
    from converters.recipe import recipe_for

    folder, model, loras = _open(task)
    recipe = recipe_for(task.recipe, task.target)
    if task.target in FIXED:
        from converters.pinned import pinned_model

        model = pinned_model(model, task)
    tools = plugins.load("converters.targets", task.target).tools if task.target in FIXED else TOOLS
    return {
        "tools": {"nanoedge": __version__, **{name: version(name) for name in (*tools, *MODULES)}},
        "family": model.family,
        "name": model.name,
        "source": folder.source,
        "settings": dict(model.settings),
        "provenance": {**model.provenance, "checkpoint": folder.digest()},
        "loras": [lora.digest() for lora in loras],
        "files": {name: content.decode("utf-8") for name, content in model.files.items()},
        "components": [asdict(forecast(component, recipe)) for component in model.components],
    }


def convert(task: Task, report: Report) -> dict[str, Any]:
    """Write the component's files and return its entry of the manifest, its figures and what became of its layers."""
    if task.target in FIXED:
        from converters.pinned import convert_pinned

        _, model, _ = _open(task)
        return convert_pinned(next(part for part in model.components if part.name == task.component), task, report)
    return _convert_streamed(task, report)


def _convert_streamed(task: Task, report: Report) -> dict[str, Any]:
    from converters.capture import capture
    from converters.fidelity import measure, references
    from converters.streaming import LayerRecord, write_component

    _, model, _ = _open(task)
    component = next(part for part in model.components if part.name == task.component)
    recipe, folder = _recipe(task), Path(task.folder)

    def say(step: str) -> None:
        report({"step": step})

    def progress(done: int, total: int) -> None:
        report({"done": done, "total": total})

    expected = references(component, say) if task.measured else []
    raised: frozenset[str] = frozenset()
    ranges = _ranges(component, recipe, say)
    say("capturing the graph")
    captured = capture(component, spelled=task.target != TENSORRT)
    while True:
        say("writing weights")
        written = write_component(captured.copy(), component, recipe, folder, raised, ranges, progress)
        description = _described(component, written.graph, written.data, written.data_sha256, written.layers)
        entry = written.graph
        if task.target == TENSORRT:
            say("typing the graph")
            description, entry = _typed(task, model, captured, written, description)
        if not task.measured:
            quality: dict[str, Any] = {"precision": description.precision}
            break
        fidelity = measure(component, description, entry, expected, task.memory_bytes, say)
        quality = fidelity.to_json()
        if fidelity.failure is None:
            break
        _remove(written.graph, written.data, entry.parent if task.target == TENSORRT else written.graph)
        more = _worst(written.layers) - raised
        if recipe.by_rows:
            say(f"{fidelity.failure}: matrix products compute in float")
            recipe = recipe.without_rows()
        elif ranges:
            say(f"{fidelity.failure}: convolutions compute in float")
            ranges = {}
        elif more:
            say(f"{fidelity.failure}: {len(more)} more layers get 8 bits")
            raised |= more
        else:
            raise ConversionError(
                f"{component.name} is too far from the checkpoint", got=fidelity.failure, hint="take another recipe"
            )
    rounded = [layer.snr_db for layer in written.layers if layer.precision != "fp32"]
    if rounded:
        quality["weights.lowest_snr_db"] = min(rounded)
    quality["promoted"] = sum(layer.promoted for layer in written.layers)
    if task.target == TENSORRT:
        _remove(written.graph, written.data)
    for part in description.files:
        _flush(folder / part.file)
    assert all(isinstance(layer, LayerRecord) for layer in written.layers)
    return {
        "component": description.to_json(),
        "quality": quality,
        "sizes": dict(check_inputs(component.inputs, component.examples[0])),
        "memory": {} if task.target == TENSORRT else memory(model, component, captured, written, recipe),
        "layers": [asdict(layer) for layer in written.layers],
    }


def _recipe(task: Task) -> Any:
    """Return the recipe in the forms of the task's format."""
    from converters.recipe import recipe_for

    recipe = recipe_for(task.recipe, task.target)
    if task.target == TENSORRT:
        from converters.tensorrt.streamed import streamed_part

        return streamed_part(recipe)
    return recipe


def _typed(task: Task, model: Any, captured: Any, written: Any, description: Any) -> tuple[Any, Path]:
    """Write the component's folder of typed graphs beside its plain graph; return its description and its entry."""
    from converters.recipe import load_recipe
    from converters.tensorrt.streamed import Packing, pack

    component = next(part for part in model.components if part.name == task.component)
    halved = bool(load_recipe(task.recipe).layers)
    return pack(component, captured, Packing(written.graph, description, _area(model), task.block_bytes, halved))


def memory(model: Any, component: Any, captured: Any, written: Any, recipe: Any) -> dict[str, Any]:
    """Return a component's entry in the member `memory` of the manifest's settings."""
    from converters.memory import opened_bytes, work
    from edge_runtime.diffusion.memory import to_json

    opened = opened_bytes(written.data.stat().st_size, captured.uses, written.layers, recipe)
    return to_json(opened, work(component, _area(model)))


def _area(model: Any) -> int:
    """Return the pixels of a family's usual result."""
    from edge_runtime.diffusion.pictures import SizeRule
    from edge_runtime.diffusion.settings import Settings

    return SizeRule.read(Settings(model.settings["size"])).area


def _ranges(component: Any, recipe: Any, say: Callable[[str], None]) -> Any:
    """Return the ranges of the values of convolutions, if the recipe wants them in 8 bits."""
    from converters.recipe import Layer
    from converters.streamed_torch import convolution_ranges

    scheme = recipe.layers.get(Layer.CONVOLUTION)
    if scheme is None or not scheme.calibrated:
        return {}
    samples = [sample for sample, _ in zip(component.calibration(), range(recipe.calibration.samples), strict=False)]
    if samples:
        say(f"ranges of convolutions over {len(samples)} inputs")
    return convolution_ranges(component, samples) if samples else {}


def _open(task: Task) -> tuple[Any, Any, list[Any]]:
    from converters.calibration import load_calibration
    from converters.folder import PipelineFolder
    from converters.lora import read_lora

    folder = PipelineFolder.open(task.checkpoint)
    pipeline = recognise(folder.pipeline)
    loras = [read_lora(spec) for spec in task.loras]
    data = load_calibration(Path(task.calibration) if task.calibration else None)
    return folder, pipeline.open(folder, loras, data), loras


def recognise(class_name: str) -> Any:
    """Return the family that converts pipelines of this class; raises ConversionError for an unknown one."""
    known: list[str] = []
    for name in plugins.names("converters.pipelines"):
        pipeline = plugins.load("converters.pipelines", name)
        if class_name in pipeline.classes:
            return pipeline
        known += pipeline.classes
    raise ConversionError(
        "this pipeline is of no family that is converted", got=class_name, allowed=", ".join(sorted(set(known)))
    )


def _described(component: Any, graph: Path, data: Path, sha256: str, layers: Iterable[Any]) -> Any:
    from edge_runtime.manifest import Component, DataFile

    lowered = [layer for layer in layers if layer.precision != "fp32"]
    counts: dict[str, int] = {}
    for layer in lowered:
        counts[layer.precision] = counts.get(layer.precision, 0) + layer.values
    promoted = [layer.tensor for layer in layers if layer.promoted]
    note = ""
    if promoted:
        named = ", ".join(promoted[:MOST_NAMED]) + (" ..." if len(promoted) > MOST_NAMED else "")
        note = f"{len(promoted)} layers have more bits than the recipe's, which lost too much: {named}"[:500]
    encoded = graph.read_bytes()
    return Component(
        name=component.name,
        file=graph.name,
        precision=max(counts, key=lambda name: counts[name]) if counts else "fp32",
        inputs=component.inputs,
        outputs=component.outputs,
        note=note,
        sha256=hashlib.sha256(encoded).hexdigest(),
        bytes=len(encoded),
        data=(DataFile(file=data.name, sha256=sha256, bytes=data.stat().st_size),),
    )


def _worst(layers: Iterable[Any]) -> frozenset[str]:
    """Return the quarter of the 4-bit layers that lost most, all of them when few are left."""
    four = sorted((layer for layer in layers if layer.precision in ("int4", "nf4")), key=lambda layer: layer.snr_db)
    return frozenset(layer.tensor for layer in four[: max(len(four) // 4, 8)])


def _remove(*paths: Path) -> None:
    for path in paths:
        remove(path)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _end_with(source: TextIO) -> None:
    """End when the driver does, however it ended: then its side of stdin is closed."""
    source.read()
    os._exit(1)


class _PeakMemory:
    """The most private memory that this process held, looked at every few milliseconds. Mapped files don't count."""

    def __init__(self) -> None:
        self.bytes = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        status = Path("/proc/self/status")
        while status.exists():
            found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("RssAnon")]
            self.bytes = max(self.bytes, 1024 * int(found[0])) if found else self.bytes
            threading.Event().wait(0.02)


if __name__ == "__main__":
    main()
