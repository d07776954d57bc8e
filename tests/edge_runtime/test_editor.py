"""The embedded nano-banana on photographs that nothing was trained on, through the public interface."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from edge_runtime.editor import Editor
from edge_runtime.errors import InstructionError, PlanError
from edge_runtime.families import nano_banana
from edge_runtime.plan import Plan
from edge_runtime.request import EditRequest, EditResult, Size


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    with Editor.open() as opened:
        yield opened


def encoded(pixels: np.ndarray, image_format: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def portrait() -> bytes:
    return encoded(np.asarray(data.astronaut()))


def plan_of(*edits: tuple[str, float, str]) -> dict[str, Any]:
    return {"edits": [{"adjust": name, "amount": amount, "region": region} for name, amount, region in edits]}


def pixels_of(result: EditResult) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(result.image)))


def signs(plan: Plan) -> set[tuple[str, int, str]]:
    return {(edit.adjust, 1 if edit.amount > 0 else -1, edit.region) for edit in plan.edits}


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("warmer", {("warmth", 1, "all")}),
        ("etwas heller, und den Hintergrund unscharf", {("exposure", 1, "all"), ("blur", 1, "background")}),
        ("a bit warmer, more contrast, blur the background",
         {("warmth", 1, "all"), ("contrast", 1, "all"), ("blur", 1, "background")}),
        ("Hintergrund entfernen", {("remove", 1, "background")}),
        ("black and white", {("black_and_white", 1, "all")}),
    ],
)
def test_the_issues_own_instructions(editor: Editor, instruction: str, expected: set[tuple[str, int, str]]) -> None:
    plan = editor.plan(instruction)
    assert signs(plan) == expected
    assert plan.beyond < 0.5


@pytest.mark.parametrize(
    ("instruction", "color"),
    [("white background", "white"), ("mach den Hintergrund blau", "blue"), ("make the background black", "black")],
)
def test_the_background_gets_the_colour_that_was_named(editor: Editor, instruction: str, color: str) -> None:
    (fill,) = editor.plan(instruction).edits
    assert (fill.adjust, fill.color) == ("fill", editor.vocabulary.colors[color])


def test_strength_words_change_the_amount(editor: Editor) -> None:
    amounts = [editor.plan(text).edits[0].amount for text in ("slightly warmer", "warmer", "much warmer")]
    assert amounts == sorted(amounts) and amounts[2] - amounts[0] > 0.2


def test_what_is_beyond_the_model_says_so(editor: Editor) -> None:
    assert editor.plan("add a red hat to the man").beyond > 0.5


def test_warmer_is_warmer(editor: Editor, portrait: bytes) -> None:
    result = editor.edit(EditRequest(image=portrait, instruction="warmer"))
    before, after = np.asarray(data.astronaut()).astype(float), pixels_of(result).astype(float)
    assert after.shape == before.shape
    assert (after[..., 0] - after[..., 2]).mean() > (before[..., 0] - before[..., 2]).mean() + 5


def test_background_edits_leave_the_subject_alone(editor: Editor, portrait: bytes) -> None:
    result = editor.edit(EditRequest(image=portrait, plan=plan_of(("exposure", -1.0, "background"))))
    change = np.abs(pixels_of(result).astype(int) - np.asarray(data.astronaut())).mean(-1)
    assert change[60:160, 190:260].mean() < 4, "the face must keep its light"
    assert change[20:80, 290:340].mean() > 20, "the wall must be darker"


def test_removing_the_background_gives_transparency(editor: Editor, portrait: bytes) -> None:
    result = editor.edit(EditRequest(image=portrait, instruction="Hintergrund entfernen"))
    alpha = pixels_of(result)[..., 3]
    assert result.media_type == "image/png"
    assert alpha[100, 220] > 240 and alpha[50, 310] < 40


def test_removing_to_jpeg_flattens_and_says_so(editor: Editor, portrait: bytes) -> None:
    plan = plan_of(("remove", 1.0, "background"))
    result = editor.edit(EditRequest(image=portrait, plan=plan, output_format="jpeg"))
    assert result.warnings and pixels_of(result).shape[2] == 3


def test_strips_show_no_seams(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = encoded(np.asarray(Image.fromarray(data.chelsea()).resize((900, 700))))
    plan = plan_of(("blur", 0.7, "background"), ("sharpen", 1.0, "all"), ("clarity", 0.8, "all"),
                   ("vignette", 0.6, "all"), ("grain", 0.4, "all"), ("warmth", 0.5, "subject"))
    whole = pixels_of(editor.edit(EditRequest(image=photo, plan=plan))).astype(int)
    monkeypatch.setattr(nano_banana, "STRIP_PIXELS", 90_000)
    strips = pixels_of(editor.edit(EditRequest(image=photo, plan=plan))).astype(int)
    assert np.abs(whole - strips).max() <= 1


def test_odd_and_tiny_sizes(editor: Editor) -> None:
    for size in ((1, 1), (3, 700), (701, 2), (385, 383)):
        photo = encoded(np.full((size[1], size[0], 3), 90, np.uint8))
        plan = plan_of(("blur", 0.5, "background"), ("exposure", 0.5, "all"))
        result = editor.edit(EditRequest(image=photo, plan=plan))
        assert (result.width, result.height) == size
        assert (pixels_of(result) > 90).all()


def test_size_fits_into_the_box(editor: Editor, portrait: bytes) -> None:
    result = editor.edit(EditRequest(image=portrait, instruction="warmer", size=Size(width=256, height=512)))
    assert (result.width, result.height) == (256, 256)


def test_transparency_of_the_photo_survives(editor: Editor) -> None:
    pixels = np.full((40, 40, 4), 128, np.uint8)
    pixels[:20, :, 3] = 0
    result = editor.edit(EditRequest(image=encoded(pixels), plan=plan_of(("exposure", 0.5, "all"))))
    assert (pixels_of(result)[:20, :, 3] == 0).all() and (pixels_of(result)[20:, :, 3] == 128).all()


def test_steps_name_the_stages_and_can_be_stopped(editor: Editor, portrait: bytes) -> None:
    steps = editor.steps(EditRequest(image=portrait, plan=plan_of(("blur", 0.5, "background"))))
    seen = [next(steps) for _ in range(4)]
    steps.close()
    assert [step.stage for step in seen] == ["text", "decode", "vision", "context"]
    assert [step.fraction for step in seen] == sorted(step.fraction for step in seen)


def test_a_plan_without_regions_never_runs_vision(editor: Editor, portrait: bytes) -> None:
    result = editor.edit(EditRequest(image=portrait, plan=plan_of(("exposure", 0.5, "all"))))
    assert set(result.seconds) == {"text", "decode", "render", "encode"}


def test_bad_requests(editor: Editor, portrait: bytes) -> None:
    with pytest.raises(PlanError):
        editor.edit(EditRequest(image=portrait, plan=plan_of(("exposure", 3.0, "all"))))
    with pytest.raises(InstructionError):
        editor.plan("")
    with pytest.raises(InstructionError, match="bytes"):
        editor.plan("ü" * 400)
