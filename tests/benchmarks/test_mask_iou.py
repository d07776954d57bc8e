"""The table of masks: overlap and edges of known masks, and models that give only one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.mask_iou import TOLERANCE_PIXELS, boundary_f, measure, report
from converters.nano_banana.photos import Pixels


def square(shift: int = 0) -> np.ndarray:
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16 + shift : 48 + shift] = True
    return mask


def planes(skin: bool) -> Pixels:
    found = np.zeros((5, 64, 64), np.uint8)
    found[:4, square()] = 255
    found[4, 20:30, 20:30] = 255 * skin
    return found


def brightness(photo: Pixels) -> dict[str, np.ndarray]:
    return {"subject": photo[..., 0].astype(np.float32) / 255}


def test_edges_match_within_the_tolerance() -> None:
    assert boundary_f(square(), square()) == boundary_f(square(TOLERANCE_PIXELS), square()) == 1
    assert 0.3 < boundary_f(square(12), square()) < 0.8
    assert boundary_f(np.zeros((64, 64), bool), square()) == 0
    assert boundary_f(np.ones((64, 64), bool), np.zeros((64, 64), bool)) == 1  # the picture's border is no edge


def test_skin_counts_where_there_is_some_and_a_model_may_have_none() -> None:
    pictures = [("with", planes(skin=True)), ("without", planes(skin=False))]
    subject = measure(brightness, pictures)
    assert subject is not None and subject.overlap == [1, 1] and subject.boundary == [1, 1]
    assert measure(brightness, pictures, "skin") is None
    both = measure(lambda photo: {**brightness(photo), "skin": brightness(photo)["subject"]}, pictures, "skin")
    assert both is not None and both.overlap == [pytest.approx(100 / 1024)]


def test_report_has_a_line_for_skin_that_is_missing_and_for_every_kind(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.mask_iou.held_out_pictures", lambda *_: [("one.jpg", planes(skin=True))])
    text = report({"bright": brightness}, tmp_path)
    assert "| bright | people | 1 | 1.000 | 1.000 | 1.000 |" in text
    assert "gives no skin mask" in text and "other kinds, all | 6" in text and "u2netp" in text


def test_sheet_shows_three_pictures_a_photograph() -> None:
    from benchmarks.mask_iou import sheet

    shown = sheet(brightness, [np.zeros((64, 64, 3), np.uint8)] * 3, columns=2)
    assert isinstance(shown, Image.Image) and shown.size == (2 * 3 * 64 // 2, 2 * 64 // 2)
