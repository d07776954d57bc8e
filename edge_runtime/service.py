"""`EditService`: a node's models by name, opened once, and its providers. What the server and the command call."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from edge_runtime import images
from edge_runtime.advice import Advice
from edge_runtime.editor import BEYOND_THRESHOLD, EMBEDDED, Editor
from edge_runtime.errors import (
    ArtifactError,
    BusyError,
    EngineError,
    InstructionError,
    ModerationError,
    NanoedgeError,
    OptionError,
    ProviderBusyError,
    ProviderError,
    RouteDeadlineError,
    RouteError,
    RouteQueueError,
    UnknownModelError,
    UnsureError,
)
from edge_runtime.family import Abilities
from edge_runtime.limits import Limits
from edge_runtime.local import Closed, Local, LocalEditor, result_pixels
from edge_runtime.machine import Machine
from edge_runtime.plan import Plan, Vocabulary
from edge_runtime.receipts import NoRecord, Receipt, Record
from edge_runtime.request import DEFAULT_MODEL, MAX_REFERENCES, EditRequest, EditResult, Size
from edge_runtime.route import AUTO, Fallback, MachineFacts, Offer, RequestFacts, Route
from edge_runtime.router import route as routed
from edge_runtime.turns import NoQueue, Queue

if TYPE_CHECKING:
    from edge_runtime.remote import Remote
    from edge_runtime.workers import Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a caller may know of a model. `created` is the manifest's time in seconds since 1970."""

    id: str
    family: str
    version: str
    recipe: str
    ready: bool
    created: int


_ANYTHING: Final = Abilities(
    pictures=1 + MAX_REFERENCES, mask=True, steps=1, guidance={"": 1.0, "image": 1.0}, negative=True
)
_LEAST_SECONDS: Final = 1e-3
_NO_QUEUE: Final = NoQueue()
_NO_RECORD: Final = NoRecord()
_PREVIEW_SIZE: Final = Size(width=512, height=512)


class EditService:
    """Edits by the model that a request names, here or at a provider. Safe to share between threads."""

    def __init__(
        self, editors: Sequence[LocalEditor], remotes: Sequence[Remote] = (), fallback: Fallback = Fallback.NEVER,
        workers: Workers | None = None,
    ) -> None:
        """Take over the editors, and the workers that they live in, if they do; `close` ends them all."""
        self.workers = workers
        self._locals = {name: Local(name, editor) for name, editor in _named(editors)}
        self._leaving: list[Local] = []
        self.remotes = {remote.settings.name: remote for remote in remotes}
        if twice := set(self._locals) & set(self.remotes):
            raise OptionError("a provider and a model have the same name", got=", ".join(twice), hint="rename one")
        self._fallback, self._advice = fallback, Advice.read()

    def serve(self, name: str, editor: LocalEditor, closed: Closed = lambda: None) -> None:
        """Have a model done by another editor from now on, or have one more model; no request fails for it.

        An edit that runs ends with the old editor, which is closed then; `closed` is called when this one has been
        closed for a successor. Raises OptionError for the name of a provider. For one thread.
        """
        if name in self.remotes:
            raise OptionError("a provider has this name", got=name, hint="rename it, or pull the model with --name")
        if name in self._locals:
            self._locals[name].follow(editor, closed)
        else:
            self._locals = {**self._locals, name: Local(name, editor, closed)}

    def dismiss(self, name: str) -> None:
        """Serve a model no longer; an edit that runs ends first. For one thread."""
        local = self._locals[name]
        self._locals = {other: one for other, one in self._locals.items() if other != name}
        local.follow(None)
        if not local.settle():
            self._leaving.append(local)

    def settle(self) -> None:
        """Close editors whose last edit has ended meanwhile."""
        self._leaving = [local for local in self._leaving if not local.settle()]
        for local in self._locals.values():
            local.settle()

    def models(self) -> tuple[ModelInfo, ...]:
        """List the models that are here, the default one first."""
        return tuple(_info(name, local.editor) for name, local in self._locals.items())

    def obstacles(self) -> tuple[str, ...]:
        """Return a sentence for each model that takes no edits now."""
        return tuple(
            f"the model {name} crashed repeatedly and is left alone for {math.ceil(local.editor.rest_seconds)} s"
            for name, local in self._locals.items() if local.editor.rest_seconds
        )

    @property
    def fallback(self) -> Fallback:
        """Return where requests that say nothing may be done: what the operator chose."""
        return self._fallback

    @property
    def default_model(self) -> str:
        """Return the model of requests that name none: whichever suits, where the operator lets edits leave."""
        return DEFAULT_MODEL if self._fallback is Fallback.NEVER else AUTO

    def vocabulary(self, model: str = DEFAULT_MODEL) -> Vocabulary:
        """Return a model's adjustments; raises UnknownModelError."""
        return self._local(model).editor.vocabulary

    def abilities(self, model: str = DEFAULT_MODEL) -> Abilities | None:
        """Return what a model that paints can be asked for; None for one that works by plans or isn't here.

        Where it isn't settled which model it will be, or that is a provider's, anything may be asked for.
        """
        if local := self._locals.get(model):
            return local.editor.abilities
        return _ANYTHING if model == AUTO or self._is_remote(model) else None

    def plan(self, instruction: str, model: str = DEFAULT_MODEL) -> Plan:
        """Say what an instruction means to a model."""
        return self._local(model).plan(instruction)

    def route(
        self, request: EditRequest, queue_seconds: float = 0.0, failures: Mapping[str, str] = MappingProxyType({}),
        beyond: float | None = None,
    ) -> Route:
        """Decide who would do an edit, without doing it.

        `failures` are those that were tried in vain, and why; `beyond` is the small model's score where it is known.
        Raises ImageError, UnknownModelError or RouteError.
        """
        machine = Machine.detect()
        facts = MachineFacts(
            available_bytes=machine.available_bytes, cores=machine.cores, queue_seconds=queue_seconds
        )
        offers: list[Offer] = [local.offer(request, failures.get(name, "")) for name, local in self._locals.items()]
        offers += [remote.offer(failures.get(name, "")) for name, remote in self.remotes.items()]
        score = self._beyond(request) if beyond is None else beyond
        return routed(self._facts(request, score), facts, offers, self._advice)

    def edit(
        self, request: EditRequest, queue: Queue = _NO_QUEUE, abandoned: Callable[[], bool] = lambda: False,
        record: Record = _NO_RECORD,
    ) -> EditResult:
        """Carry out a request where the route says; when that fails, where the route says then.

        Nobody else is asked while `record` says that a provider may still deliver.

        Raises the first failure when there is nobody else, but RouteQueueError rather than that another was busy, and
        ModerationError always: another may not be asked for what one refused. AbandonedError when `abandoned` says that
        nobody waits any more.
        """
        began = time.monotonic()
        failures: dict[str, str] = {}
        first: NanoedgeError | None = None
        # The score comes first: the small model may be busy with an edit, and then queue and deadline are others.
        beyond = self._beyond(request)
        while True:
            left = request.with_less_time(time.monotonic() - began)
            try:
                route = self.route(left, queue.wait_seconds, failures, beyond)
            except RouteError as error:
                # Who keeps no place for anybody can't say when to come back; the queue here can.
                if isinstance(error, RouteQueueError) and isinstance(first, (BusyError, ProviderBusyError)):
                    raise error from first
                raise first or error from error
            try:
                return replace(self._edited(left, route, queue, abandoned, record), route=route)
            except ModerationError:
                raise
            except (ProviderError, EngineError, BusyError, RouteDeadlineError) as error:
                if record.held:
                    raise
                first = first or error
                failures[route.offer.name] = str(error)

    def resumed(
        self, provider: str, receipt: Receipt | None, request: EditRequest, abandoned: Callable[[], bool],
        record: Record,
    ) -> EditResult:
        """Go on with an edit that a provider was asked for by a process that has ended; raises as `edit` does.

        With a receipt it is waited for. Without one it is asked for again if the provider does it once then; else
        UnsureError is raised, since nobody knows whether it was done and paid for.
        """
        remote = self.remotes.get(provider)
        if remote is None or (receipt is None and not remote.repeats):
            raise UnsureError(
                f"the server ended while the provider {provider} was asked for this edit, which may have been done and "
                "paid for; it was not asked again", hint="look at the provider's own list of edits, then send it again",
            )
        if receipt is None:
            made = remote.edit(request, abandoned, record)
        else:
            made = remote.resume(receipt, request, abandoned, record)
        return replace(made, route=Route(offer=remote.offer(), why="it had the edit before the server was restarted"))

    def preview(self, request: EditRequest) -> EditResult | None:
        """Return what the small model understood of an instruction, as a small JPEG; None when it reads none of it."""
        planner = self._planner()
        if planner is None or request.instruction is None:
            return None
        box = request.size or _PREVIEW_SIZE
        size = Size(
            width=min(box.width, _PREVIEW_SIZE.width), height=min(box.height, _PREVIEW_SIZE.height)
        )
        try:
            return planner.edit(EditRequest(
                image=request.image, mask=request.mask, instruction=request.instruction, model=planner.name, size=size,
                output_format="jpeg", quality=80,
            ))
        except InstructionError:
            return None

    def close(self) -> None:
        """Release all models, waiting for running edits."""
        for local in (*self._leaving, *self._locals.values()):
            with suppress(UnknownModelError), local.turn() as editor:
                editor.close()
        if self.workers is not None:
            self.workers.close()

    def _edited(
        self, request: EditRequest, route: Route, queue: Queue, abandoned: Callable[[], bool], record: Record
    ) -> EditResult:
        name = route.offer.name
        if name in self.remotes:
            with queue.away():
                return self.remotes[name].edit(request, abandoned, record)
        began = time.monotonic()
        with queue.turn(route.offer.seconds):
            left = request.with_less_time(time.monotonic() - began)
            if left.deadline_seconds is not None and left.deadline_seconds < (route.offer.seconds or _LEAST_SECONDS):
                raise RouteDeadlineError("its turn came too late for the deadline", param="deadline_ms")
            return self._local(name).edit(replace(left, model=name), abandoned)

    def _facts(self, request: EditRequest, beyond: float) -> RequestFacts:
        return RequestFacts(
            model=request.model, beyond=beyond, pixels=result_pixels(request, Limits()),
            wish=self._advice.kind(request.instruction or "", beyond=beyond >= BEYOND_THRESHOLD),
            pictures=1 + len(request.references), masked=request.mask is not None, planned=request.plan is not None,
            painted=request.painted, fallback=request.fallback or self._fallback,
            deadline_seconds=request.deadline_seconds, max_cost_usd=request.max_cost_usd,
            allowance=request.allowance, hops=request.hops,
        )

    def _beyond(self, request: EditRequest) -> float:
        """Return the small model's score; 0 where nobody asks for it: a plan, a model that is named."""
        if request.instruction is None or request.model != AUTO:
            return 0.0
        planner = self._planner()
        try:
            return 1.0 if planner is None else planner.beyond(request)
        except InstructionError:  # longer than it reads
            return 1.0

    def _planner(self) -> Local | None:
        return next((local for local in self._locals.values() if local.editor.abilities is None), None)

    def _is_remote(self, model: str) -> bool:
        return any(model in (name, one.settings.model, one.settings.family) for name, one in self.remotes.items())

    def _local(self, model: str) -> Local:
        local = self._locals.get(model)
        if local is None:
            raise UnknownModelError("unknown model", got=model, allowed=", ".join(self._locals), param="model")
        return local


def open_service(
    models: Sequence[Path] = (), threads: int | None = None, providers: Path | None = None,
    workers: Workers | None = None, first: Path = EMBEDDED,
) -> EditService:
    """Open nano-banana, `first`, the artifacts in the given folders, and the providers that a file names.

    With `workers` each model has a child process; without, all are opened in this one.
    """
    remotes: list[Remote] = []
    fallback = Fallback.NEVER
    if providers is not None:
        # Imported here: most nodes have no providers, and the HTTP client costs a tenth of the start.
        from edge_runtime.providers_file import ProvidersFile
        from edge_runtime.remote import Remote

        found = ProvidersFile.read(providers, os.environ)
        fallback = found.fallback
        decode = images.decode if workers is None else workers.outer_decoder().decode
        remotes = [Remote(settings, decode=decode) for settings in found.providers]
    editors: list[LocalEditor] = [
        Editor.open(path, threads=threads) if workers is None else workers.editor(path, threads)
        for path in (first, *models)
    ]
    return EditService(editors, remotes, fallback, workers)


def _named(editors: Sequence[LocalEditor]) -> Iterator[tuple[str, LocalEditor]]:
    return ((_unique(editor, editors), editor) for editor in editors)


def _unique(editor: LocalEditor, editors: Sequence[LocalEditor]) -> str:
    """The model's name; the folder's name for a further artifact of a model that is there already."""
    name = editor.artifact.manifest.name
    if editor is not editors[0] and name == editors[0].artifact.manifest.name:
        name = editor.artifact.folder.resolve().name
    if any(other is not editor and other.artifact.folder.resolve().name == name for other in editors[1:]):
        raise ArtifactError("two models have the same name", got=name, hint="rename one of the folders")
    return name


def _info(name: str, editor: LocalEditor) -> ModelInfo:
    manifest = editor.artifact.manifest
    return ModelInfo(
        id=name, family=manifest.family, version=editor.artifact.version, recipe=manifest.recipe,
        ready=not editor.rest_seconds, created=int((editor.artifact.folder / "manifest.json").stat().st_mtime),
    )
