"""`nanoedge edit`: photos and words in, a picture out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_runtime.cli import artifact_folder, describe, read_file, write_file
from edge_runtime.errors import OptionError, PlanError
from edge_runtime.generators import finished
from edge_runtime.request import AUTO, DEFAULT_MODEL, EditRequest, EditResult, Fallback, Size, Step

if TYPE_CHECKING:
    from edge_runtime.editor import Editor

_FORMATS: Final = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".avif": "avif"}
_MEMORY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(MB|GB)", re.IGNORECASE)
_UNITS: Final = {"MB": 10**6, "GB": 10**9}


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="PHOTO... INSTRUCTION")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
              help="Where the result goes: .jpg, .png, .webp or .avif.")
@click.option("--plan", "plan_json", help="An edit plan as JSON (or @FILE) instead of an instruction.")
@click.option("--mask", type=click.Path(dir_okay=False, path_type=Path),
              help="A picture that is transparent, or white on black, where the edit belongs.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True,
              help="A model of the store, NAME or NAME@VERSION, or an artifact's folder.")
@click.option("--model-store", "store", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="The store of models. Default: as `nanoedge models`.")
@click.option("--providers", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Remote providers as JSON; with --model auto or a provider's name.")
@click.option("--fallback", help="Whether the edit may go to a provider: never, allow or only.")
@click.option("--size", default="auto", show_default=True, help="Fit into this many pixels: 1024 or 1024x768.")
@click.option("--quality", default=90, show_default=True, help="Quality of JPEG, WebP and AVIF, 1 to 100.")
@click.option("--sharpen", default=0.0, help="Sharpen the result, 0 to 1.")
@click.option("--profile", default="none", show_default=True, help="Colour profile to write: none or srgb.")
@click.option("--steps", type=int, help="Passes of a model that paints; fewer are faster.")
@click.option("--seed", type=int, help="Repeat a picture; without one it is drawn and printed.")
@click.option("--guidance", multiple=True, metavar="[NAME=]NUMBER",
              help="How strictly a model that paints follows; NAME for another than its main one, e.g. image=1.5.")
@click.option("--negative", help="What the picture shall not show.")
@click.option("--preview", is_flag=True, help="Write an early picture after every step, beside the output.")
@click.option("--memory", metavar="SIZE", help="What a large model may hold open at once, e.g. 3GB.")
@click.option("--json", "as_json", is_flag=True, help="Print plan, model, times and warnings as JSON.")
def edit(
    inputs: tuple[str, ...], output: Path, plan_json: str | None, mask: Path | None, model: str, size: str,
    quality: int, steps: int | None, seed: int | None, guidance: tuple[str, ...], negative: str | None, preview: bool,
    memory: str | None, as_json: bool, providers: Path | None, fallback: str | None, sharpen: float, profile: str,
    store: Path | None,
) -> None:
    """Edit a photo as an instruction says: nanoedge edit photo.jpg "warmer, blur the background" -o out.jpg

    Some large models take several: nanoedge edit a.jpg b.jpg "the person of image 1 in the room of image 2" ...
    """
    photos, instruction = _sorted(inputs, plan_json)
    photo, *others = (read_file(Path(path)) for path in photos)
    request = EditRequest(
        image=photo, references=tuple(others), mask=None if mask is None else read_file(mask), instruction=instruction,
        plan=None if plan_json is None else _plan_data(plan_json), size=Size.parse(size),
        output_format=_output_format(output), quality=quality, steps=steps, seed=seed, guidance=_guidance(guidance),
        negative=negative, previews=preview, fallback=Fallback.parse(fallback) if fallback else None,
        sharpen=sharpen, profile=profile,
    )
    if model == AUTO or providers is not None:
        result = _routed(replace(request, model=model), providers, artifact_folder(DEFAULT_MODEL, store))
    else:
        result = _run(request, artifact_folder(model, store), output, _bytes(memory))
    write_file(output, result.image)
    if as_json:
        click.echo(json.dumps(_report(result), ensure_ascii=False, indent=2))
    else:
        how = f"seed {result.seed}" if result.plan is None else describe(result.plan)
        where = "" if result.route is None else f", by {result.route.offer.name} because {result.route.why}"
        click.echo(f"{output}: {result.width}x{result.height}, {how}{where}")
    for warning in result.warnings:
        click.echo(f"note: {warning}", err=True)


def _sorted(inputs: tuple[str, ...], plan: str | None) -> tuple[tuple[str, ...], str | None]:
    """Tell photos from the instruction, which is last; with a plan there is none."""
    if len(inputs) == 1 or (plan is not None and Path(inputs[-1]).exists()):
        return inputs, None
    return inputs[:-1], inputs[-1]


def _routed(request: EditRequest, providers: Path | None, first: Path) -> EditResult:
    """Have the edit done by nano-banana, which is in the folder `first`, or a provider, as the router says."""
    from edge_runtime.service import open_service

    service = open_service(providers=providers, first=first)
    try:
        return service.edit(request)
    finally:
        service.close()


def _run(request: EditRequest, folder: Path, output: Path, memory_bytes: int | None) -> EditResult:
    from edge_runtime.editor import Editor
    from edge_runtime.heap import limit_heap
    from edge_runtime.progress import EditProgress

    limit_heap()
    with Editor.open(folder, memory_bytes=memory_bytes) as editor:
        if editor.abilities is None:
            return editor.edit(request)
        progress = EditProgress()
        try:
            return _painted(editor, request, output, progress)
        finally:
            progress.clear()


def _painted(editor: Editor, request: EditRequest, output: Path, progress: Callable[[Step], None]) -> EditResult:
    def tell(step: Step) -> None:
        progress(step)
        if step.preview is not None:
            _write_preview(output.with_suffix(f".preview{output.suffix}"), step.preview, request)

    return finished(editor.steps(request), tell)


def _write_preview(path: Path, pixels: Any, request: EditRequest) -> None:
    """Write the early picture, which has a pixel for eight, at a size that one can look at."""
    from edge_runtime import images

    height, width = pixels.shape[:2]
    large = images.resize_to(pixels, 8 * width, 8 * height)
    write_file(path, images.encode(large, False, request.output_format or "png", 80)[0])


def _guidance(given: Iterable[str]) -> dict[str, float]:
    found = {}
    for text in given:
        name, equals, number = text.rpartition("=")
        try:
            found[name if equals else ""] = float(number)
        except ValueError as error:
            raise OptionError(
                "the guidance is no number", got=text, allowed="4 or image=1.5", param="guidance_scale"
            ) from error
    return found


def _bytes(text: str | None) -> int | None:
    if text is None:
        return None
    match = _MEMORY.fullmatch(text.strip())
    if match is None:
        raise OptionError("the memory is not usable", got=text, allowed="a number with MB or GB, e.g. 3GB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _plan_data(text: str) -> dict[str, Any]:
    try:
        data = json.loads(read_file(Path(text[1:])) if text.startswith("@") else text)
    except ValueError as error:
        raise PlanError("the plan is not JSON", got=text, hint=str(error)) from error
    if not isinstance(data, dict):
        raise PlanError("a plan must be an object with a list 'edits'", got=text)
    return data


def _output_format(path: Path) -> str:
    if path.suffix.lower() not in _FORMATS:
        raise OptionError("the output's ending names no format", got=path.name, allowed=", ".join(_FORMATS))
    if not path.resolve().parent.is_dir():
        raise OptionError("the output's folder doesn't exist", got=path.parent, hint="create it first")
    return _FORMATS[path.suffix.lower()]


def _report(result: EditResult) -> dict[str, Any]:
    seconds = {stage: round(value, 4) for stage, value in result.seconds.items()}
    return {
        "width": result.width, "height": result.height, "media_type": result.media_type,
        **({"seed": result.seed} if result.plan is None else {"plan": result.plan.to_json()}),
        "model": result.model, "version": result.version, "seconds": seconds, "warnings": list(result.warnings),
        **({} if result.route is None else {"route": result.route.to_json()}),
    }
