"""Runs the models of this machine: each in a child process of its own, as the server does, all of them in turns.

Models take turns on every edit, in an order drawn anew each time, so that whatever else the machine does hits all of
them alike. The pass that makes the pictures comes first, so nothing that is timed afterwards is a first time.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from converters.bench.edits import PhotoEdit
from converters.bench.journal import Journal
from converters.bench.settings import Contender, Settings
from converters.bench.yardstick import Yardstick
from edge_runtime import images
from edge_runtime.child import Spawner
from edge_runtime.generators import finished
from edge_runtime.request import EditRequest, EditResult
from edge_runtime.worker_editor import Opening, WorkerEditor

Report = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and how many there are."""


class Judge(Protocol):
    """Looks at the pictures that all models made of one edit."""

    def judge_all(self, entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
        """Return what is measured on all edits together, by model."""

    def judge(self, edit: PhotoEdit, results: dict[str, EditResult], models: dict[str, WorkerEditor]) -> dict[str, Any]:
        """Return a journal entry, without what identifies it."""


@dataclass(frozen=True, kw_only=True)
class Local:
    """One measurement of the models on this machine; `edits` is the plan of all of it."""

    settings: Settings
    edits: Sequence[PhotoEdit]
    journal: Journal
    report: Report

    def run(self, judge: Judge) -> None:
        """Measure what isn't in the journal yet."""
        with self._models() as models:
            self._pictures(models, judge)
            self._times(models)
            for label, model in models.items():
                self.journal.add({"kind": "memory", "model": label, "peak_bytes": _peak_bytes(model.pid)})
        self._cold_starts()

    @contextmanager
    def _models(self) -> Iterator[dict[str, WorkerEditor]]:
        spawner, models = Spawner(), dict[str, WorkerEditor]()
        try:
            for contender in self.settings.contenders:
                models[contender.label] = _started(contender, spawner)
            for model in models.values():
                model.abilities  # noqa: B018 - waits until it is open
            yield models
        finally:
            for model in models.values():
                model.close()
            spawner.close()

    def _pictures(self, models: dict[str, WorkerEditor], judge: Judge) -> None:
        done = self.journal.keys("quality", "edit")
        for number, edit in enumerate(self.edits):
            self.report("pictures", number, len(self.edits))
            if (edit.name,) in done:
                continue
            request = _request(edit, output_format="png")
            results = {label: finished(model.steps(_fit(request, model))) for label, model in models.items()}
            self.journal.add({"kind": "quality", "edit": edit.name, **judge.judge(edit, results, models)})
        self.report("pictures", len(self.edits), len(self.edits))
        if not self.journal.keys("set"):
            self.journal.add({"kind": "set", "models": judge.judge_all([*self.journal.of("quality")])})

    def _times(self, models: dict[str, WorkerEditor]) -> None:
        yardstick, done = Yardstick(), self.journal.keys("time", "round", "edit")
        total = self.settings.rounds * len(self.edits)
        self._warm_up(models)
        for turn in range(self.settings.rounds):
            chooser = random.Random(f"{self.settings.seed} {turn}")
            for place, edit in enumerate(chooser.sample(list(self.edits), len(self.edits))):
                self.report("timing", turn * len(self.edits) + place, total)
                order = chooser.sample(list(models), len(models))
                if (turn, edit.name) in done:
                    continue
                request, standard = _request(edit), yardstick.read()
                measured = {label: _timed(models[label], request) for label in order}
                self.journal.add(
                    {"kind": "time", "round": turn, "edit": edit.name, "yardstick": standard, "models": measured}
                )
        self.report("timing", total, total)

    def _warm_up(self, models: dict[str, WorkerEditor]) -> None:
        """Open what the edits need: after the pictures nothing is left to do, but after a resumption there is."""
        if len(self.journal.keys("time", "round", "edit")) == self.settings.rounds * len(self.edits):
            return
        for edit in self.edits[: len({edit.case.scenario for edit in self.edits}) * 2]:
            for model in models.values():
                finished(model.steps(_fit(_request(edit), model)))

    def _cold_starts(self) -> None:
        """Start each model in a new process: seconds until it is open, and until its first edit is done."""
        yardstick, done = Yardstick(), self.journal.keys("cold", "number")
        edit = next((edit for edit in self.edits if edit.case.damage is None), self.edits[0])
        for number in range(self.settings.cold_starts):
            self.report("cold starts", number, self.settings.cold_starts)
            if (number,) in done:
                continue
            order = random.Random(f"{self.settings.seed} cold {number}").sample(
                self.settings.contenders, len(self.settings.contenders)
            )
            standard = yardstick.read()
            seconds = {contender.label: _cold(contender, edit) for contender in order}
            self.journal.add({"kind": "cold", "number": number, "yardstick": standard, "models": seconds})
        self.report("cold starts", self.settings.cold_starts, self.settings.cold_starts)


def _started(contender: Contender, spawner: Spawner) -> WorkerEditor:
    return WorkerEditor(Opening(path=contender.artifact.folder), spawner, images.decode)


def _request(edit: PhotoEdit, output_format: str | None = None) -> EditRequest:
    return EditRequest(image=edit.data, instruction=edit.case.instruction, output_format=output_format)


def _fit(request: EditRequest, model: WorkerEditor) -> EditRequest:
    """Give a model that paints a seed, so that a second run makes the same pictures."""
    if model.abilities is None:
        return request
    return EditRequest(
        image=request.image, instruction=request.instruction, output_format=request.output_format, seed=0
    )


def _timed(model: WorkerEditor, request: EditRequest) -> dict[str, Any]:
    request = _fit(request, model)
    before, began = processor_seconds(model.pid), time.perf_counter()
    result = finished(model.steps(request))
    total, after = time.perf_counter() - began, processor_seconds(model.pid)
    used = None if before is None or after is None else after - before
    return {"total": total, "processor": used, "stages": dict(result.seconds)}


def _cold(contender: Contender, edit: PhotoEdit) -> dict[str, float]:
    spawner = Spawner()
    try:
        began = time.perf_counter()
        model = _started(contender, spawner)
        try:
            model.abilities  # noqa: B018 - waits until it is open
            opened = time.perf_counter() - began
            finished(model.steps(_fit(_request(edit), model)))
            return {"opened": opened, "first_edit": time.perf_counter() - began}
        finally:
            model.close()
    finally:
        spawner.close()


def processor_seconds(pid: int | None) -> float | None:
    """Return the processor time that this process and the child used so far; None where the system doesn't say.

    All threads of both, waiting left out: it hardly changes with what else the machine does, as seconds do.
    """
    if sys.platform != "linux" or pid is None:
        return None
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return time.process_time() + sum(int(file.read_text().split()[0]) for file in files) / 1e9


def _peak_bytes(pid: int | None) -> int | None:
    """Return the most memory that the process ever held; None where the system doesn't say."""
    if sys.platform != "linux" or pid is None:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else None
