"""The table of cut-outs: opacity against a mask at the photograph's own size, as far as it is shrunk."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.cut_outs import INSTRUCTION, measured, subject_of
from converters.nano_banana.outlines import Outlined
from converters.nano_banana.photos import Labelled
from edge_runtime.request import EditRequest


class Cutter:
    """An editor that cuts out the left half of any photo, with a soft column of a half beside it."""

    def edit(self, request: EditRequest) -> Any:
        assert request.instruction == INSTRUCTION
        with Image.open(io.BytesIO(request.image)) as photo:
            opacity = np.zeros((photo.height, photo.width), np.uint8)
        half = opacity.shape[1] // 2
        opacity[:, :half], opacity[:, half] = 255, 51
        stream = io.BytesIO()
        Image.fromarray(np.dstack([np.zeros((*opacity.shape, 3), np.uint8), opacity])).save(stream, "PNG")
        return SimpleNamespace(image=stream.getvalue())


@pytest.fixture
def labelled(tmp_path: Path) -> Labelled:
    """A photo of 400 x 200 whose subject is the left half."""
    Image.new("RGB", (400, 200), "grey").save(tmp_path / "photo.jpg")
    mask = np.zeros((200, 400), np.uint8)
    mask[:, :200] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return Labelled("people", tmp_path / "photo.jpg", tmp_path / "mask.png")


def test_opacity_is_compared_at_the_size_that_a_user_gets(labelled: Labelled) -> None:
    errors = measured(Cutter(), [labelled], side=100)  # type: ignore[arg-type]
    assert errors.mean == [pytest.approx(0.2 / 100)], "one column of a hundred is wrong by a fifth"
    assert errors.overlap == [1.0] and errors.boundary == [1.0]
    assert errors.cells() == ["1", "0.0020", "1.000", "1.000"]


def test_an_outline_is_drawn_at_the_photographs_size(labelled: Labelled) -> None:
    square = Outlined("photo", "object", "hand", ((0, 0, 500, 0, 500, 1000, 0, 1000),))
    drawn = subject_of(Labelled("object", labelled.photo, outline=square), (400, 200))
    assert drawn.shape == (200, 400) and (drawn[:, :199] == 255).all() and not drawn[:, 202:].any()
