"""The seam to hardware: an `Engine` opens a component into a `Session`, which runs it. One file a backend, in engines/.

`CheckedSession` holds what every backend would otherwise repeat: checks against the component, and closing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, TypeAlias

from edge_runtime import plugins
from edge_runtime.errors import EngineError, MissingExtraError
from edge_runtime.manifest import Component
from edge_runtime.tensors import Tensor, check_inputs

ELSEWHERE: Final[Mapping[str, str]] = {
    "coreml": "it runs on Apple devices: make an app of it with nanoedge export ios; nanoedge compare checks it here"
}
"""Target -> what to do with an artifact for machines that nanoedge itself doesn't run on."""

RawRun: TypeAlias = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
LARGE_RUN_BYTES: Final = 10 * 1024 * 1024
"""Inputs of a run, counted twice (what comes out of a picture graph is about as large), above which a session gives
back what the run used; below it keeps that for the next."""



class Session(Protocol):
    """An opened component. Leaving its `with` block closes it."""

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return all outputs by name, owned by the caller.

        Raises EngineError for inputs that don't fit the component, for a run that fails, and after `close`.
        """

    def close(self) -> None:
        """Release the weights and the working memory. A second call does nothing."""

    def __enter__(self) -> Session: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Engine(Protocol):
    """A hardware backend, exposed as `ENGINE`."""

    @property
    def name(self) -> str:
        """The name of the backend's file in engines/."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The values of a manifest's `target` that it runs."""

    @property
    def device(self) -> str:
        """The device that it uses when none is asked for."""

    def open(
        self, path: Path, component: Component, *, threads: int, device: str = "cpu", seldom: bool = False
    ) -> Session:
        """Load the file `path`, which `component` describes, with the component's data files beside it.

        This is the only costly call. `seldom` says that the component runs about once an edit: an engine may then
        leave weights as they lie, if arranging them costs more than a run gives back.

        Raises EngineError when the file can't be loaded, differs from the component, or when `device` is not the one
        that would run it: an engine never moves to another device in silence.
        """


def engine_for(target: str) -> Engine:
    """Return the first engine of engines/ that runs a target; a missing library matters only when no other does.

    Raises EngineError when none runs it, MissingExtraError when one would but for its library.
    """
    known: list[str] = []
    missing: MissingExtraError | None = None
    for name in plugins.names("engines"):
        try:
            engine: Engine = plugins.load("engines", name)
        except MissingExtraError as error:
            missing = error
            continue
        if target in engine.targets:
            return engine
        known += engine.targets
    if missing is not None and target not in ELSEWHERE:
        raise missing
    raise EngineError(
        "no engine here runs the artifact's target",
        got=target,
        allowed=", ".join(known),
        hint=ELSEWHERE.get(target, "update nanoedge"),
    )


class CheckedSession:
    """A `Session` around a backend's own run: checks inputs and outputs, and refuses to run once closed.

    It keeps the only reference to `run`, so that closing frees what `run` holds. Threads may share it if `run` allows.
    """

    def __init__(self, component: Component, run: RawRun) -> None:
        self._component = component
        self._run: RawRun | None = run

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Session.run`."""
        run = self._run  # one read: another thread may close meanwhile
        if run is None:
            raise EngineError(f"the session of {self._component.name} is closed", hint="open the component again")
        sizes = check_inputs(self._component.inputs, inputs)
        outputs = run(inputs)
        check_inputs(self._component.outputs, outputs, sizes)
        return outputs

    def close(self) -> None:
        """See `Session.close`."""
        self._run = None

    def __enter__(self) -> CheckedSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
