"""The cores of both phone bundles, compiled and run on this machine, beside the Python runtime: every kind of edit."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from orders import combined, every_adjustment, photo
from PIL import Image
from programs import EditingProgram, Order, png, psnr
from swift_modules import module
from swift_modules import program as program_of
from toolchains import INSIDE, Kotlin, Swift

from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.golden import LEAST_PSNR_DB
from edge_runtime.request import EditRequest
from mobile_export.templates import TEMPLATES

HERE = Path(__file__).parent
KOTLIN_CORE = TEMPLATES / "android/src/main/kotlin/nanoedge/banana/core"
SWIFT_CORE = TEMPLATES / "ios/Sources/NanoBanana/Core"

SLOWEST_SECONDS = 15.0
"""A quarter of a second is usual; this much is a mistake on any machine, however busy."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["kotlin", "swift"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditingProgram]:
    folder = tmp_path_factory.mktemp(request.param)
    command = _kotlin(folder) if request.param == "kotlin" else _swift(folder)
    with EditingProgram(command, Artifact.open(EMBEDDED)) as program:
        yield program


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    with Editor.open(threads=2) as editor:
        yield editor


def test_every_edit_agrees_with_the_python_runtime(program: EditingProgram, editor: Editor) -> None:
    orders = [*every_adjustment(editor.vocabulary), *combined()]
    found = {order.name: _agreement(program, editor, order) for order in orders}
    equal = sum(np.isinf(value) for value in found.values())
    print(f"{len(found)} edits, {equal} of them equal to the last bit")  # noqa: T201 - pytest -rP shows it
    assert len(found) == len(orders) > 200
    worst = sorted(found.items(), key=lambda entry: entry[1])[:5]
    assert worst[0][1] >= LEAST_PSNR_DB, worst


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        ({"instruction": " \n "}, "instruction is empty"),
        ({"instruction": "x" * 513}, "too long: 513 bytes"),
        ({"plan": {"edits": [{"adjust": "sparkle", "amount": 1.0, "region": "all"}]}}, "no adjustment called sparkle"),
        ({"plan": {"edits": [{"adjust": "warmth", "amount": 7.0, "region": "all"}]}}, "warmth takes amounts"),
        ({"plan": {"edits": [{"adjust": "fill", "amount": 1.0, "region": "background"}]}}, "needs a colour"),
        ({"plan": {"edits": 65 * [{"adjust": "warmth", "amount": 0.1, "region": "all"}]}}, "too many edits"),
        ({"plan": {"edits": []}, "mask": np.full((8, 8, 4), (0, 0, 0, 255), np.uint8)}, "mask marks nothing"),
        ({"plan": {"edits": []}, "mask": np.zeros((8, 16, 4), np.uint8)}, "other proportions"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    program: EditingProgram, order: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(AssertionError, match=sentence):
        program.edit(Order(name="refused", photo=np.full((8, 8, 4), 255, np.uint8), **order))


def test_steps_and_notes_tell_what_happens(program: EditingProgram) -> None:
    gray = np.full((64, 64, 4), 255, np.uint8)
    edited = program.edit(Order(name="notes", photo=gray, instruction="blur the background"))
    assert edited.stages == ["text", "vision", "context", "render"]
    assert any("no clear subject" in note.lower() for note in edited.notes)
    masked = {"edits": [{"adjust": "inpaint", "amount": 1.0, "region": "masked"}]}
    edited = program.edit(Order(name="left out", photo=gray, plan=masked))
    assert any("no mask was given: inpaint" in note for note in edited.notes)


def test_the_code_around_the_graphs_is_quick(program: EditingProgram) -> None:
    """Of photos of 7 megapixels, with the time that pixels take through the pipes."""
    large = np.repeat(np.repeat(photo(), 8, 0), 10, 1)
    for words in ("warmer", "blur the background", "rotate left", "pixelate", "remove the noise"):
        program.graphs.seconds = 0.0
        start = time.perf_counter()
        program.edit(Order(name=words, photo=large, instruction=words))
        around = time.perf_counter() - start - program.graphs.seconds
        print(f"{words}: {program.graphs.seconds:.2f} s in graphs, {around:.2f} s around them")  # noqa: T201 - as above
        assert around < SLOWEST_SECONDS


def test_tiles_leave_no_seams(editor: Editor, tmp_path: Path) -> None:
    """As with graphs of fixed sizes, here with graphs of any size: more, and smaller, tiles than phones need."""
    embedded = Artifact.open(EMBEDDED)
    sizes = [{"height": side, "width": side} for side in (96, 128)]
    settings = {**embedded.manifest.settings, "fixed_sizes": {"render": sizes, "render_full": sizes}}
    files = {part.name: embedded.path(part.name) for part in embedded.manifest.components}
    artifact = write_artifact(tmp_path / "tiled", replace(embedded.manifest, settings=settings), files)
    with EditingProgram(_kotlin(tmp_path), artifact) as program:
        found = {order.name: _agreement(program, editor, order) for order in combined()}
    worst = min(found.items(), key=lambda entry: entry[1])
    assert worst[1] >= LEAST_PSNR_DB, worst


def _agreement(program: EditingProgram, editor: Editor, order: Order) -> float:
    mask = None if order.mask is None else png(order.mask)
    request = EditRequest(
        image=png(order.photo), plan=order.plan, instruction=order.instruction, mask=mask, output_format="png"
    )
    expected = Image.open(BytesIO(editor.edit(request).image)).convert("RGBA")
    return psnr(np.array(expected), program.edit(order).pixels)


def _kotlin(folder: Path) -> list[str]:
    kotlin = Kotlin.installed()
    kotlin.compile([KOTLIN_CORE, HERE / "kotlin/core"], folder / "core.jar")
    return kotlin.command(folder / "core.jar", "nanoedge.banana.check.DriverKt")


def _swift(folder: Path) -> list[str]:
    swift = Swift.installed()
    shutil.copytree(SWIFT_CORE, folder / "core_sources")
    shutil.copytree(HERE / "swift", folder / "check")
    module(swift, folder, "Wire", [folder / "check/wire/Conversation.swift"])
    module(swift, folder, "NanoBanana", sorted((folder / "core_sources").glob("*.swift")), language="6")
    program_of(swift, folder, "check/core/main.swift", "core", ["NanoBanana", "Wire"])
    return swift.command(folder, f"{INSIDE}/core")
