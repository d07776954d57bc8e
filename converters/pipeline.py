"""The driver for large models: one component after another, each in a process of its own, kept when it is done.

Until all is done the files stand in a hidden folder beside the destination. A conversion that was stopped at any moment
goes on from there after its last finished component, and ends in the same bytes. This module never imports torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from converters.job import BLOCK_BYTES, FIXED, TENSORRT, Task
from converters.recipe import FOLDER, STREAMED, recipe_for
from converters.tensorrt import schemes
from converters.work_folder import held, remove
from edge_runtime import errors
from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import finish_artifact
from edge_runtime.diffusion.memory import MEMORY
from edge_runtime.errors import ConversionError, OptionError
from edge_runtime.inspection import EXAMPLE_SIZES
from edge_runtime.manifest import Component, Manifest

TARGETS: Final = ("onnx", TENSORRT, *FIXED)
"""The formats that large models are written in."""

SPARE_SHARE: Final = 1.05
"""Free disk wanted, over the forecast."""

_LOG: Final = ".log"
Report = Callable[[str, dict[str, Any]], None]
"""Called with a component's title and a line of the process: {"step": ...} or {"done": ..., "total": ...}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRequest:
    """What to convert: `checkpoint` is a folder or hf:owner/name[@revision], `loras` are FILE or FILE=STRENGTH.

    `measured` False skips the comparison with torch, which reads the checkpoint once more; the manifest then says so.
    `target` is one of TARGETS; `block_bytes` of weights are built into one engine by TensorRT. Targets of FIXED have
    graphs of one size, for results of `size`, width and height in pixels; the comparison is part of writing them.
    """

    checkpoint: str
    destination: Path
    recipe: str = "int4"
    loras: tuple[str, ...] = ()
    calibration: Path | None = None
    memory_bytes: int = 4 << 30
    measured: bool = True
    target: str = "onnx"
    block_bytes: int = BLOCK_BYTES
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConversion:
    """The artifact on disk; every component's figures, its layers and the private memory its process held at most
    (0 for one that an earlier run had finished).
    """

    artifact: Artifact
    quality: dict[str, Any]
    layers: dict[str, list[dict[str, Any]]]
    peak_bytes: dict[str, int]


def plan(request: PipelineRequest, report: Report = lambda title, line: None) -> dict[str, Any]:
    """Return the description of the model with a forecast of every component; writes nothing."""
    _check(request)
    if request.target in FIXED:
        raise OptionError("there is no forecast for this format", got=request.target, allowed="onnx", param="plan")
    return _describe(_task(request, Path()), report)


def _check(request: PipelineRequest) -> None:
    """Raise for what would fail only when the first component is written."""
    recipe = recipe_for(request.recipe, request.target)
    if request.target in FIXED:
        _check_fixed(request)
        return
    if request.target == TENSORRT:
        schemes.check_expressible(recipe)
    else:
        recipe.require(STREAMED, "the writer of large models")
    if request.size is not None:
        raise OptionError(
            "graphs of this format take every size", got=f"--size, {request.target}", hint="leave it out", param="size"
        )


def _check_fixed(request: PipelineRequest) -> None:
    """Raise for a size that is missing; what the format can't hold of a recipe, the process says that describes."""
    if request.size is None:
        raise OptionError(
            f"graphs of {request.target} have one size, and none is given",
            hint="give that of the results with --size, such as 512 or 512x768; for another, convert once more",
            param="size",
        )  # fmt: skip
    if not request.measured:
        raise OptionError("the comparison can't be skipped for this format", got=request.target, allowed="onnx")


def convert_pipeline(
    request: PipelineRequest, report: Report = lambda title, line: None
) -> PipelineConversion:
    """Convert a checkpoint in diffusers layout; raises OptionError and ConversionError.

    The destination appears at once and complete, or not at all.
    """
    _check(request)
    destination = Path(os.path.abspath(request.destination))
    if os.path.lexists(destination):
        raise OptionError("the output exists already", got=destination, hint="choose another, or delete it first")
    work = destination.with_name(f".{destination.name}.converting")
    described = _describe(_task(request, work), report)
    if request.checkpoint.startswith("hf:"):  # every component from one commit, even if the branch moves meanwhile
        request = replace(request, checkpoint=described["source"])
    _check_disk(described, work, request.target)
    with held(work, _fingerprint(request, described)) as lock:
        done = {}
        names = [component["name"] for component in described["components"]]
        for place, name in enumerate(names, 1):
            title = f"[{place}/{len(names)}] {name}"
            done[name] = _component(replace(_task(request, work), component=name), title, report, lock)
        files = [_write_file(work, name, content) for name, content in described["files"].items()]
        manifest = _manifest(request, described, done, files)
        artifact = finish_artifact(work, destination, manifest)
    return PipelineConversion(
        artifact=artifact,
        quality={name: entry["quality"] for name, entry in done.items()},
        layers={name: entry["layers"] for name, entry in done.items()},
        peak_bytes={name: entry.get("peak_bytes", 0) for name, entry in done.items()},
    )


def _task(request: PipelineRequest, work: Path) -> Task:
    checkpoint = request.checkpoint
    if not checkpoint.startswith("hf:"):
        checkpoint = os.path.abspath(checkpoint)
    return Task(
        checkpoint=checkpoint,
        recipe=request.recipe,
        folder=str(work),
        loras=tuple(map(_absolute, request.loras)),
        calibration="" if request.calibration is None else os.path.abspath(request.calibration),
        memory_bytes=request.memory_bytes,
        measured=request.measured,
        target=request.target,
        block_bytes=request.block_bytes,
        size=request.size or (0, 0),
    )


def _absolute(lora: str) -> str:
    return os.path.abspath(lora)  # a strength at its end stays there


def _describe(task: Task, report: Report) -> dict[str, Any]:
    report(task.checkpoint, {"step": "reading the checkpoint's configuration"})
    return _run(task, lambda line: report(task.checkpoint, line))["result"]  # type: ignore[no-any-return]


def _component(task: Task, title: str, report: Report, lock: int) -> dict[str, Any]:
    """Convert one component, or take what an earlier run left of it."""
    work = Path(task.folder)
    record = work / f".{task.component}.json"
    if record.exists():
        entry: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        if _complete(work, entry):
            report(title, {"step": "done by an earlier run"})
            return entry
    for left in work.glob(f"{task.component}.*"):
        remove(left)
    answer = _run(task, lambda line: report(title, line), work / _LOG, (lock,))
    entry = answer["result"]
    partial = record.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(entry, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(record)
    return {**entry, "peak_bytes": answer["peak_bytes"]}


def _complete(work: Path, entry: dict[str, Any]) -> bool:
    component = Component.from_json(entry["component"], "a finished component")
    sizes = {component.file: component.bytes, **{part.file: part.bytes for part in component.data}}
    return all((work / file).is_file() and (work / file).stat().st_size == size for file, size in sizes.items())


def _run(
    task: Task, on_line: Callable[[dict[str, Any]], None], log: Path | None = None, held: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Run a task in a process that ends soon after this one does; raises what the process reported.

    The process keeps the descriptors `held` open: a lock is free when neither of the two can write any more.
    """
    with _opened(log) as errors_to:
        process = subprocess.Popen(
            [sys.executable, "-m", "converters.job"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors_to, text=True, pass_fds=held,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(asdict(task)) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = {}
            for text in process.stdout:
                answer = json.loads(text)
                if "error" not in answer and "result" not in answer:
                    on_line(answer)
            code = process.wait()
        finally:
            process.stdin.close()
            process.kill()
            process.wait()
            process.stdout.close()
    if "error" in answer:
        raise _error(answer)
    if "result" not in answer:
        raise ConversionError(
            f"the process that converts {task.component or 'the model'} ended early",
            got=f"exit code {code}",
            hint=_advice(code, log),
        )
    return answer


def _advice(code: int, log: Path | None) -> str:
    if code < 0:
        return "it was killed, most often for want of memory; run the same command again to go on"
    return "this is a fault of nanoedge" + (f"; what it said is in {log}" if log else "")


@contextmanager
def _opened(log: Path | None) -> Iterator[Any]:
    if log is None:
        yield None
        return
    with log.open("a", encoding="utf-8") as file:
        yield file


def _error(answer: dict[str, Any]) -> errors.NanoedgeError:
    """Rebuild the error of the process: its message is finished already."""
    kind = getattr(errors, answer["kind"], ConversionError)
    error: errors.NanoedgeError = kind("")
    error.args = (answer["error"],)
    return error


def _check_disk(described: dict[str, Any], work: Path, target: str) -> None:
    wanted = int(SPARE_SHARE * sum(component["bytes"] for component in described["components"]))
    if target == TENSORRT:  # a component stands there as a plain graph too, in float at worst, until it is typed
        wanted += max(4 * component["parameters"] for component in described["components"])
    there = sum(file.stat().st_size for file in work.glob("*") if file.is_file()) if work.exists() else 0
    parent = next(folder for folder in work.parents if folder.exists())
    free = shutil.disk_usage(parent).free
    if wanted - there > free:
        raise ConversionError(
            "there is too little disk for the artifact",
            got=f"{free / 1e9:.1f} GB free in {parent}",
            allowed=f"at least {(wanted - there) / 1e9:.1f} GB",
            hint="free some, or choose another place or a smaller recipe",
        )


def _fingerprint(request: PipelineRequest, described: dict[str, Any]) -> str:
    """Return what must be equal for a finished component to be of use to another run."""
    task = asdict(_task(request, Path()))
    recipe = (FOLDER / f"{request.recipe}.json").read_text(encoding="utf-8")
    content = {"task": task, "recipe": recipe, "tools": described["tools"], "described": described["provenance"]}
    content["loras"] = described["loras"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_file(work: Path, name: str, content: str) -> Component:
    encoded = content.encode()
    path = work / f"{name}.json"
    path.write_bytes(encoded)
    return Component(
        name=name, file=path.name, precision="none", sha256=hashlib.sha256(encoded).hexdigest(), bytes=len(encoded)
    )


def _memory(done: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of ONNX Runtime's memory; none for components that it doesn't run."""
    found = {name: entry["memory"] for name, entry in done.items() if entry["memory"]}
    return {MEMORY: found} if found else {}


def _joined(several: Iterable[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the members of each component's own settings, which have an entry a component, as one."""
    found: dict[str, dict[str, Any]] = {}
    for settings in several:
        for member, entries in settings.items():
            found[member] = {**found.get(member, {}), **entries}
    return found


def _manifest(
    request: PipelineRequest, described: dict[str, Any], done: dict[str, Any], files: list[Component]
) -> Manifest:
    graphs = [Component.from_json(entry["component"], name) for name, entry in done.items()]
    return Manifest(
        family=described["family"],
        name=described["name"],
        target=request.target,
        recipe=request.recipe,
        components=(*graphs, *files),
        settings={
            **described["settings"],
            **_joined(entry.get("settings", {}) for entry in done.values()),
            EXAMPLE_SIZES: {name: entry["sizes"] for name, entry in done.items()},
            **_memory(done),
        },
        provenance={**described["provenance"], "tools": described["tools"]},
        quality={name: entry["quality"] for name, entry in done.items()},
    )
