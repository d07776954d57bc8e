"""`Editor`: one opened artifact that turns requests into results, step by step.

    with Editor.open() as editor:                       # the embedded nano-banana
        result = editor.edit(EditRequest(image=photo, instruction="warmer"))
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Final

from edge_runtime import images, plugins
from edge_runtime.artifact import Artifact
from edge_runtime.checked_files import CheckedFiles
from edge_runtime.diffusion.memory import BASE_BYTES, parts, peak_bytes
from edge_runtime.engine import Engine, engine_for
from edge_runtime.errors import PlanError
from edge_runtime.family import Abilities, Family, Mask, Model, Painter, Pixels, Planner, Prompt
from edge_runtime.finishing import written
from edge_runtime.generators import finished, retold
from edge_runtime.machine import Machine
from edge_runtime.manifest import Manifest
from edge_runtime.options import check_painting, refuse_painting
from edge_runtime.plan import MASKED, Plan, Vocabulary, parse_plan, within_mask, without_mask
from edge_runtime.request import MAX_SEED, EditRequest, EditResult, Step, check_instruction

EMBEDDED = Path(__file__).with_name("embedded") / "nano-banana"
BEYOND_THRESHOLD = 0.5
# Of a model that renders strip by strip. Colours, a blurred background, noise and a drawing took 65 to 138 MB on photos
# of 1.5 megapixels, and 224 to 373 MB of 24.
_STRIP_BYTES = 140_000_000
_PHOTO_BYTES = 12
_NO_VOCABULARY = Vocabulary(adjustments=(), regions=(), colors={})


class Editor:
    """Edits photos with one artifact. Used by one thread at a time; a context manager."""

    openings: Final = 1
    """How often its memory began anew: only a worker's does."""

    rest_seconds: Final = 0.0
    """How long it is left alone after crashes: it has none that this process survives."""

    def __init__(
        self, artifact: Artifact, model: Model, limits: images.Limits, decode: images.Decode = images.decode
    ) -> None:
        self.artifact, self.limits = artifact, limits
        self._model, self._decode = model, decode

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = EMBEDDED,
        *,
        threads: int | None = None,
        device: str | None = None,
        limits: images.Limits | None = None,
        memory_bytes: int | None = None,
        verify: bool = True,
        decode: images.Decode = images.decode,
    ) -> Editor:
        """Open the artifact in a folder, by default the embedded nano-banana.

        `threads` is by default the number of cores of this process, `device` what the engine is for. `memory_bytes`
        bounds what a large model holds open at once; by default it is what the machine has left. Large files are read
        for their digests once a week and after every change; `verify=False` trusts all of them. `decode` turns encoded
        pictures into pixels, elsewhere if it likes.
        Raises ArtifactError, EngineError, or MissingExtraError when the engine's library is not installed.
        """
        artifact = Artifact.open(path, verify, CheckedFiles())
        engine = engine_for(artifact.manifest.target)
        family: Family = plugins.load("families", artifact.manifest.family)
        cores = threads or Machine.detect().cores
        device = device or engine.device
        if device != engine.device:
            _check_device(artifact, engine, device)
        model = family.open(artifact, engine, threads=cores, device=device, memory_bytes=memory_bytes)
        return cls(artifact, model, limits or images.Limits(), decode)

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the adjustments that plans may use; none for a model that paints."""
        return self._model.vocabulary if isinstance(self._model, Planner) else _NO_VOCABULARY

    @property
    def abilities(self) -> Abilities | None:
        """Return what a model that paints can be asked for; None for one that works by plans."""
        return self._model.abilities if isinstance(self._model, Painter) else None

    def memory_bytes(self, pixels: int) -> int:
        """Return about how much memory an edit takes at most whose result has so many pixels, this process aside."""
        return needed_bytes(self.artifact.manifest, pixels, paints=isinstance(self._model, Painter))

    def plan(self, instruction: str) -> Plan:
        """Say what an instruction means, without a photo; raises PlanError for a model that doesn't work by plans."""
        check_instruction(instruction)
        if isinstance(self._model, Planner):
            return self._model.plan(instruction)
        raise PlanError(
            "this model paints from the words themselves, without a plan", got=self.artifact.manifest.family,
            hint="use nano-banana for plans", param="model",
        )

    def plan_aside(self, instruction: str) -> Plan | None:
        """Say it while an edit runs in another thread; None, since in one process that must wait for its turn."""
        return None

    def check(self, request: EditRequest) -> None:
        """Raise InputError for options that this model doesn't have; nothing is decoded for it."""
        if isinstance(self._model, Planner):
            refuse_painting(request, self.artifact.manifest.name)
        else:
            check_painting(request, self._model.abilities, self.artifact.manifest.name)

    def edit(self, request: EditRequest) -> EditResult:
        """Carry out a request; raises InputError for what can't be used."""
        return finished(self.steps(request))

    def steps(self, request: EditRequest) -> Generator[Step, None, EditResult]:
        """Carry out a request stage by stage; closing the generator stops the edit."""
        self.check(request)
        if isinstance(self._model, Planner):
            return (yield from self._planned(self._model, request))
        return (yield from self._painted(self._model, request))

    def _planned(self, model: Planner, request: EditRequest) -> Generator[Step, None, EditResult]:
        clock = _StageClock()
        # the plan first: a request that can't be understood should fail before the costly decoding
        yield clock.start(Step(stage="text", fraction=0.0))
        if request.plan is not None:
            plan = parse_plan(request.plan, model.vocabulary)
        else:
            plan = model.plan(request.instruction or "")
        yield clock.start(Step(stage="decode", fraction=0.05))
        photo = self._decode(request.image, self.limits, request.size)
        pixels = photo.pixels
        notes: list[str] = []
        mask = self._mask(request, pixels)
        plan, dropped = _fitted(plan, mask is not None, model.vocabulary, asked=request.plan is not None)
        if plan.edits:
            pixels = yield from _clocked(model.render(pixels, plan, mask), clock, notes)
        yield clock.start(Step(stage="encode", fraction=0.9))
        has_alpha = photo.has_alpha or any(edit.adjust == "remove" for edit in plan.edits)
        warnings = (*photo.warnings, *dropped, *_plan_warnings(plan), *notes)
        return self._result(request, photo, pixels, clock, has_alpha=has_alpha, warnings=warnings, plan=plan)

    def _painted(self, model: Painter, request: EditRequest) -> Generator[Step, None, EditResult]:
        clock = _StageClock()
        yield clock.start(Step(stage="decode", fraction=0.0))
        photo, *others = (self._decode(data, self.limits, None) for data in (request.image, *request.references))
        seed = secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed
        names = {"": next(iter(model.abilities.guidance), "")}
        prompt = Prompt(
            instruction=request.instruction or "", pictures=(photo.pixels, *(other.pixels for other in others)),
            seed=seed, mask=self._mask(request, photo.pixels), box=request.size, steps=request.steps,
            guidance={names.get(name, name): strength for name, strength in request.guidance.items()},
            negative=request.negative, previews=request.previews,
        )
        notes: list[str] = []
        pixels = yield from _clocked(model.paint(prompt), clock, notes)
        yield clock.start(Step(stage="encode", fraction=0.98))
        warnings = (*photo.warnings, *(warning for other in others for warning in other.warnings), *notes)
        return self._result(request, photo, pixels, clock, has_alpha=False, warnings=warnings, seed=seed)

    def _result(
        self, request: EditRequest, photo: images.Photo, pixels: Pixels, clock: _StageClock, *, has_alpha: bool,
        warnings: tuple[str, ...], plan: Plan | None = None, seed: int | None = None,
    ) -> EditResult:
        natural = _natural_format(photo.source_format, has_alpha)
        encoded, media_type, more = written(pixels, has_alpha, natural, request)
        return EditResult(
            image=encoded, media_type=media_type, width=pixels.shape[1], height=pixels.shape[0], plan=plan,
            model=self.artifact.manifest.name, version=self.artifact.version, seconds=clock.stop(),
            warnings=(*warnings, *more), seed=seed,
        )

    def _mask(self, request: EditRequest, pixels: Pixels) -> Mask | None:
        if request.mask is None:
            return None
        height, width = pixels.shape[:2]
        return images.decode_mask(request.mask, self.limits, width, height, self._decode)

    def close(self) -> None:
        """Release the graphs."""
        self._model.close()

    def __enter__(self) -> Editor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_device(artifact: Artifact, engine: Engine, device: str) -> None:
    """Open the smallest graph on the device and close it: a device that isn't there shows now, not in the first edit.

    Raises EngineError when the engine has no such device, or opened the graph on another one.
    """
    component = min(artifact.manifest.components, key=lambda component: component.bytes)
    engine.open(artifact.path(component.name), component, threads=1, device=device).close()


def needed_bytes(manifest: Manifest, pixels: int, *, paints: bool) -> int:
    """Return about how much memory an edit takes at most whose result has so many pixels, the process aside."""
    if paints:
        known = bool(parts(manifest.settings))
        return peak_bytes(manifest, pixels, 1, together=False) - BASE_BYTES if known else manifest.total_bytes
    return _STRIP_BYTES + _PHOTO_BYTES * pixels


class _StageClock:
    """Adds up the seconds of each stage."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._stage, self._since = "", time.perf_counter()

    def start(self, step: Step) -> Step:
        """Go on to the step's stage, and return the step."""
        self.stop()
        self._stage = step.stage
        return step

    def stop(self) -> dict[str, float]:
        """End the running stage and return the seconds of all stages."""
        now = time.perf_counter()
        if self._stage:
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = "", now
        return dict(self._seconds)


def _clocked(
    steps: Generator[Step, None, Pixels], clock: _StageClock, notes: list[str]
) -> Generator[Step, None, Pixels]:
    """Pass the steps on, timed; their notes for the user are kept."""

    def timed(step: Step) -> Step:
        if step.note:
            notes.append(step.note)
        return clock.start(step)

    return retold(steps, timed)


def _fitted(plan: Plan, has_mask: bool, vocabulary: Vocabulary, asked: bool) -> tuple[Plan, tuple[str, ...]]:
    """Fit a plan to the mask that was given or not; `asked`: the caller wrote the plan, so nothing may be dropped."""
    if has_mask:
        return within_mask(plan, vocabulary), ()
    if MASKED not in plan.regions:
        return plan, ()
    names = ", ".join(edit.adjust for edit in plan.edits if edit.region == MASKED)
    if asked:
        raise PlanError(
            "the plan edits the masked area but no mask was given", got=names,
            hint="send a mask: transparent, or white on black, where the edit belongs", param="mask",
        )
    return without_mask(plan), (f"left out because no mask was given: {names}; paint over the place and try again",)


def _natural_format(source_format: str, has_alpha: bool) -> str:
    """Keep the photo's own format where it can hold the result; PNG otherwise."""
    if source_format == "jpeg" and has_alpha:
        return "png"
    return source_format if source_format in ("jpeg", "webp") else "png"


def _plan_warnings(plan: Plan) -> tuple[str, ...]:
    warnings = []
    if plan.beyond >= BEYOND_THRESHOLD:
        warnings.append(
            f"the request goes beyond what this model can do (score {plan.beyond:.2f}); only the plan was carried out"
        )
    if not plan.edits:
        warnings.append("the plan is empty, so the photo is unchanged; name an adjustment, for example 'warmer'")
    return tuple(warnings)
