"""A model in a real child process: the same results, and what happens when the child is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import psutil
import pytest
import skimage
from PIL import Image

from edge_runtime.child import Patience
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.errors import (
    AbandonedError,
    ArtifactError,
    BusyError,
    ImageError,
    InstructionError,
    PlanError,
    RestingError,
    RouteCapacityError,
    RouteDeadlineError,
    UnknownModelError,
    WorkerError,
)
from edge_runtime.generators import finished
from edge_runtime.local import Local
from edge_runtime.request import EditRequest, EditResult, Size
from edge_runtime.service import EditService, open_service
from edge_runtime.worker_editor import WorkerEditor
from edge_runtime.workers import Crew, Workers

WORDS = "warmer, blur the background"


@pytest.fixture(scope="module")
def photo() -> bytes:
    stream = BytesIO()
    with Image.open(Path(skimage.__file__).parent / "data" / "coffee.png") as picture:
        picture.convert("RGB").save(stream, "JPEG", quality=92)
    return stream.getvalue()


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    made = Workers(Crew())
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(workers: Workers) -> WorkerEditor:
    """One for tests that don't hurt it."""
    return workers.editor(EMBEDDED, threads=1)


@pytest.fixture
def editor(workers: Workers) -> Iterator[WorkerEditor]:
    made = workers.editor(EMBEDDED, threads=1)
    yield made
    made.close()


@pytest.fixture
def request_(photo: bytes) -> EditRequest:
    return EditRequest(image=photo, instruction=WORDS, size=Size(width=200, height=200), output_format="png")


def edited(editor: WorkerEditor, request: EditRequest, hurt: dict[int, int] | None = None) -> EditResult:
    """Edit, and send the child a signal at the steps that `hurt` numbers."""
    steps, number = editor.steps(request), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: EditResult = end.value
            return result
        if hurt and number in hurt:
            assert editor.pid is not None
            os.kill(editor.pid, hurt[number])
        number += 1


def test_results_are_those_of_an_editor_in_this_process(shared: WorkerEditor, request_: EditRequest) -> None:
    mask = BytesIO()
    picture = Image.new("L", (600, 400))
    picture.paste(255, (200, 100, 400, 300))
    picture.save(mask, "PNG")
    with Editor.open(threads=1) as other:
        assert shared.vocabulary == other.vocabulary and shared.abilities == other.abilities
        assert shared.memory_bytes(10**6) == other.memory_bytes(10**6)
        for request in (request_, replace(request_, mask=mask.getvalue(), instruction="black and white")):
            here, there = other.edit(request), edited(shared, request)
            assert there == replace(here, seconds=there.seconds)
            assert list(there.seconds) == list(here.seconds)
        assert shared.plan(WORDS) == other.plan(WORDS)


def test_steps_come_through(shared: WorkerEditor, request_: EditRequest) -> None:
    stages = [step.stage for step in _steps(shared, request_)]
    assert stages[:2] == ["text", "decode"] and stages[-1] == "encode" and len(stages) >= 4


def _steps(editor: WorkerEditor, request: EditRequest) -> list[object]:
    return list(editor.steps(request))


def test_refusals_come_through(shared: WorkerEditor, request_: EditRequest) -> None:
    with pytest.raises(PlanError, match="Unknown adjustment"):
        edited(shared, replace(request_, instruction=None, plan={"edits": [{"adjust": "magic"}]}))
    with pytest.raises(ImageError) as damaged:
        edited(shared, replace(request_, image=request_.image[:2000]))
    assert damaged.value.code == "bad_image" and damaged.value.param == "image"
    assert edited(shared, request_).width == 200, "and it goes on"
    assert not shared.fate.restarts


def test_an_edit_that_is_given_up_stops(shared: WorkerEditor, request_: EditRequest) -> None:
    local = Local("nano", shared)
    left = iter([False, True])
    with pytest.raises(AbandonedError):
        local.edit(request_, lambda: next(left))
    with pytest.raises(RouteDeadlineError):
        local.edit(replace(request_, deadline_seconds=1e-6))
    assert edited(shared, request_).width == 200 and shared.openings == 1


def test_words_are_read_beside_a_running_edit(shared: WorkerEditor, request_: EditRequest) -> None:
    local = Local("nano", shared)
    with local.turn() as editor, ThreadPoolExecutor(1) as others:
        steps = editor.steps(request_)
        next(steps)
        known = others.submit(local.plan, "much cooler, please").result(timeout=10)
        with pytest.raises(InstructionError):
            others.submit(local.plan, " ").result(timeout=10)
        assert finished(steps).width == 200, "which it does not disturb"
    assert known == shared.plan("much cooler, please") and shared.openings == 1


@pytest.mark.parametrize("stopped_first", [False, True])
def test_words_that_were_being_read_when_the_child_was_lost(editor: WorkerEditor, stopped_first: bool) -> None:
    local = Local("nano", editor)
    first = local.plan("warmer")
    assert editor.pid is not None
    with ThreadPoolExecutor(1) as others:
        if stopped_first:
            os.kill(editor.pid, signal.SIGSTOP)
            asked = others.submit(editor.plan_aside, "cooler")
            time.sleep(0.2)
        os.kill(editor.pid, signal.SIGKILL)
        if stopped_first:
            assert asked.result(timeout=5) is None, "the answer can't come any more"
        assert local.plan("much cooler").edits[0].amount < 0 < first.edits[0].amount
    assert editor.openings == 2


def test_a_model_that_was_taken_out_of_service_reads_no_words(workers: Workers) -> None:
    local = Local("nano", workers.editor(EMBEDDED, threads=1))
    local.plan("warmer")
    local.follow(None)
    with pytest.raises(UnknownModelError):
        local.plan("cooler")


def test_a_folder_that_is_no_artifact(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        workers.editor(tmp_path)
    shutil.copytree(EMBEDDED, tmp_path / "model")
    (tmp_path / "model" / "text.onnx").write_bytes(bytes((EMBEDDED / "text.onnx").stat().st_size))
    damaged = workers.editor(tmp_path / "model")
    with pytest.raises(ArtifactError, match="wrong SHA-256"):
        damaged.plan("warmer")
    damaged.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
@pytest.mark.parametrize("step", [0, 2])
def test_a_crash_is_survived(editor: WorkerEditor, request_: EditRequest, number: int, step: int) -> None:
    undisturbed = edited(editor, request_)
    survived = edited(editor, request_, {step: number})
    assert survived.image == undisturbed.image
    assert editor.fate.restarts == {signal.Signals(number).name.lower(): 1} and editor.openings == 2


@pytest.mark.slow
def test_a_hang_is_survived(request_: EditRequest) -> None:
    workers = Workers(Crew(patience=Patience(idle_seconds=1.0)))
    editor = workers.editor(EMBEDDED, threads=1)
    began = time.monotonic()
    assert edited(editor, request_, {1: signal.SIGSTOP}).width == 200
    assert editor.fate.restarts == {"hung": 1} and time.monotonic() - began < 60
    workers.close()


@pytest.mark.slow
def test_repeated_crashes_cool_down(editor: WorkerEditor, request_: EditRequest) -> None:
    service = EditService([editor])
    with pytest.raises(WorkerError) as twice:
        edited(editor, request_, {0: signal.SIGKILL, 1: signal.SIGKILL})
    assert twice.value.code == "worker_crashed" and not service.obstacles()
    with pytest.raises((WorkerError, RestingError)):
        edited(editor, request_, {0: signal.SIGKILL, 1: signal.SIGKILL})
    assert "crashed repeatedly" in service.obstacles()[0] and not service.models()[0].ready
    with pytest.raises(BusyError) as resting:
        edited(editor, request_)
    assert resting.value.code == "model_resting" and resting.value.retry_after_seconds
    with pytest.raises(RouteCapacityError, match="left alone") as refused:
        service.edit(request_)
    assert refused.value.retry_after_seconds
    time.sleep(refused.value.retry_after_seconds)
    assert service.edit(request_).width == 200 and not service.obstacles()


@pytest.mark.slow
def test_an_idle_model_gives_its_memory_back(tmp_path: Path, request_: EditRequest) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "other")
    workers = Workers(Crew(idle_seconds=0.5))
    service = open_service([tmp_path / "other"], threads=1, workers=workers)
    workers.wait()
    kept, other = workers.editors
    request = replace(request_, model="other")
    service.edit(request)
    held = service.route(request).offer.memory_bytes
    child = psutil.Process(other.pid)
    deadline = time.monotonic() + 20
    while other.pid is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.is_running() and other.pid is None and other.fate.unloads == {"idle": 1} and kept.pid is not None
    assert service.route(request).offer.memory_bytes > held == 0, "it would have to be taken again"
    assert service.edit(request).width == 200 and other.openings == 2
    service.close()


PARENT = """
import os, signal, sys, time
from edge_runtime.workers import Crew, Workers
from edge_runtime.editor import EMBEDDED
workers = Workers(Crew())
editor = workers.editor(EMBEDDED)
workers.wait()
if sys.argv[1] == "stopped":
    os.kill(editor.pid, signal.SIGSTOP)
print(editor.pid, workers.decoder.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("state", ["waiting", "stopped"])
def test_no_child_outlives_its_parent(state: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, state], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_a_child_ignores_a_terminals_signals(shared: WorkerEditor, request_: EditRequest) -> None:
    assert edited(shared, request_, {0: signal.SIGINT, 1: signal.SIGTERM}).width == 200
    assert not shared.fate.restarts

