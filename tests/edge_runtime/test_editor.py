"""The embedded nano-banana on photographs that nothing was trained on, through the public interface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.errors import ArtifactError, InstructionError, PlanError
from edge_runtime.plan import Plan
from edge_runtime.request import EditRequest, EditResult, Size


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    with Editor.open() as opened:
        yield opened


def other_settings(folder: Path, **settings: Any) -> Editor:
    """The embedded model with other settings; None takes one away."""
    artifact = Artifact.open(EMBEDDED, verify=False)
    changed = {name: value for name, value in {**artifact.manifest.settings, **settings}.items() if value is not None}
    files = {part.name: artifact.path(part.name) for part in artifact.manifest.components}
    write_artifact(folder / "other", replace(artifact.manifest, settings=changed), files)
    return Editor.open(folder / "other")


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


def test_strips_show_no_seams(editor: Editor, tmp_path: Path) -> None:
    photo = encoded(np.asarray(Image.fromarray(data.chelsea()).resize((900, 700))))
    plan = plan_of(("blur", 0.7, "background"), ("sharpen", 1.0, "all"), ("clarity", 0.8, "all"),
                   ("vignette", 0.6, "all"), ("grain", 0.4, "all"), ("warmth", 0.5, "subject"))
    whole = pixels_of(editor.edit(EditRequest(image=photo, plan=plan))).astype(int)
    with other_settings(tmp_path, strip_pixels=90_000) as other:
        strips = pixels_of(other.edit(EditRequest(image=photo, plan=plan))).astype(int)
    assert np.abs(whole - strips).max() <= 1


def test_an_artifact_without_the_settings_of_today_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="strip_pixels.*convert the model again"):
        other_settings(tmp_path, strip_pixels=None)


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


def left_half_mask(side: int = 512) -> bytes:
    marked = np.zeros((side, side), np.uint8)
    marked[:, : side // 2] = 255
    return encoded(marked)


def test_a_mask_confines_every_edit_to_what_is_painted(editor: Editor, portrait: bytes) -> None:
    original = np.asarray(data.astronaut())
    result = editor.edit(EditRequest(image=portrait, mask=left_half_mask(), plan=plan_of(("exposure", 0.6, "all"))))
    assert result.plan.edits[0].region == "masked"
    edited = pixels_of(result)
    assert (edited[:, 257:] == original[:, 257:]).all()
    assert edited[:, :255].mean() > original[:, :255].mean() + 20


def test_several_kinds_of_region_in_one_plan(editor: Editor, portrait: bytes) -> None:
    plan = plan_of(
        ("exposure", 0.2, "all"), ("black_and_white", 1.0, "background"), ("skin_smooth", 0.5, "skin"),
        ("invert", 1.0, "masked"),
    )
    result = editor.edit(EditRequest(image=portrait, mask=left_half_mask(), plan=plan))
    unmasked = editor.edit(EditRequest(image=portrait, plan={"edits": plan["edits"][:3]}))
    edited, plain = pixels_of(result), pixels_of(unmasked)
    # the whole photo's edit is confined to the mask as well, so the right half is darker than without a mask
    assert np.ptp(edited[5:60, 330:350].astype(int), axis=-1).max() < 12, "grey background on the right"
    assert edited[:, 270:].mean() < plain[:, 270:].mean()


def test_words_that_need_a_mask_say_so_without_one(editor: Editor, portrait: bytes) -> None:
    result = editor.edit(EditRequest(image=portrait, instruction="erase what I marked"))
    assert any("no mask was given" in warning for warning in result.warnings)
    assert all(edit.region != "masked" for edit in result.plan.edits)
    with pytest.raises(PlanError, match="no mask"):
        editor.edit(EditRequest(image=portrait, plan=plan_of(("inpaint", 1.0, "masked"))))


def test_what_is_painted_over_is_filled_from_around(editor: Editor) -> None:
    sky = np.full((120, 160, 3), (90, 140, 200), np.uint8)
    spoilt, painted = sky.copy(), np.zeros_like(sky)
    spoilt[50:60, 70:84], painted[48:62, 68:86] = (250, 40, 20), 255
    result = editor.edit(EditRequest(image=encoded(spoilt), mask=encoded(painted), instruction="remove this"))
    assert "restore" in result.seconds
    assert np.abs(pixels_of(result).astype(int) - sky).max() <= 4


def test_restoring_takes_noise_away_and_leaves_the_size(editor: Editor) -> None:
    original = np.asarray(data.coffee())
    noisy = (original + np.random.default_rng(0).normal(0, 25, original.shape)).clip(0, 255).astype(np.uint8)
    result = editor.edit(EditRequest(image=encoded(noisy), plan=plan_of(("denoise", 0.5, "all"))))
    assert result.seconds["restore"] > 0
    before, after = (((original - x.astype(float)) ** 2).mean() for x in (noisy, pixels_of(result)))
    assert 10 * np.log10(before / after) > 6


def test_tiles_of_the_restoration_show_no_seams(editor: Editor, tmp_path: Path) -> None:
    photo = encoded(np.asarray(data.coffee()))
    plan = plan_of(("denoise", 0.5, "all"))
    whole = pixels_of(editor.edit(EditRequest(image=photo, plan=plan))).astype(int)
    tiles = {**editor.artifact.manifest.settings["restoration"], "tile_pixels": 256}
    with other_settings(tmp_path, restoration=tiles) as other:
        tiled = pixels_of(other.edit(EditRequest(image=photo, plan=plan))).astype(int)
    assert np.abs(whole - tiled).max() <= 10 and np.abs(whole - tiled).mean() < 0.8


def test_the_canvas_changes_size(editor: Editor, portrait: bytes) -> None:
    wide = encoded(np.asarray(data.coffee()))
    turned = editor.edit(EditRequest(image=wide, plan=plan_of(("rotate", 0.5, "all"))))
    assert (turned.width, turned.height) == (400, 600)
    double = plan_of(("upscale", 1.0, "all"))
    larger = editor.edit(EditRequest(image=wide, plan=double, size=Size(width=150, height=150)))
    assert (larger.width, larger.height) == (300, 200)
    cut = editor.edit(EditRequest(image=portrait, plan=plan_of(("crop", 0.4, "all"))))
    assert (cut.width, cut.height) == (410, 410)


def test_automatic_corrections_brighten_what_is_dark(editor: Editor) -> None:
    dark = (np.asarray(data.coffee()) / 255.0) ** 2.2
    darker = np.round(dark * 120).astype(np.uint8)
    for name in ("auto_exposure", "auto_enhance"):
        result = editor.edit(EditRequest(image=encoded(darker), plan=plan_of((name, 1.0, "all"))))
        assert pixels_of(result).mean() > 1.5 * darker.mean()
        assert "auto" in result.seconds


def test_no_skin_is_said(editor: Editor) -> None:
    bricks, plan = encoded(np.asarray(data.brick())), plan_of(("skin_smooth", 0.5, "skin"))
    result = editor.edit(EditRequest(image=bricks, plan=plan))
    assert any("skin" in warning for warning in result.warnings)


def test_bad_requests(editor: Editor, portrait: bytes) -> None:
    with pytest.raises(PlanError):
        editor.edit(EditRequest(image=portrait, plan=plan_of(("exposure", 3.0, "all"))))
    with pytest.raises(InstructionError):
        editor.plan("")
    with pytest.raises(InstructionError, match="bytes"):
        editor.plan("ü" * 400)
