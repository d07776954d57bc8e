"""Masks: what a user painted, decoded and laid over a plan."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from converters.nano_banana.vocabulary import vocabulary
from edge_runtime.errors import ImageError, ImageTypeError
from edge_runtime.images import decode_mask
from edge_runtime.limits import Limits
from edge_runtime.plan import Edit, Plan, within_mask, without_mask


def encoded(mode: str, pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels, mode).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def left_half() -> np.ndarray:
    marked = np.zeros((30, 40), np.uint8)
    marked[:, :20] = 255
    return marked


def test_white_marks_the_area(left_half: np.ndarray) -> None:
    mask = decode_mask(encoded("L", left_half), Limits(), 80, 60)
    assert mask.shape == (60, 80) and mask.dtype == np.float32
    assert mask[:, :38].min() == 1.0 and mask[:, 42:].max() == 0.0


def test_transparency_marks_the_area_as_in_openais_api(left_half: np.ndarray) -> None:
    photo = np.full((30, 40, 4), 200, np.uint8)
    photo[..., 3] = 255 - left_half
    mask = decode_mask(encoded("RGBA", photo), Limits(), 40, 30)
    assert mask[:, :20].min() == 1.0 and mask[:, 20:].max() == 0.0


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (encoded("L", np.zeros((30, 40), np.uint8)), ImageError, "marks nothing"),
        (encoded("L", np.full((40, 40), 255, np.uint8)), ImageError, "proportions"),
        (b"GIF87a", ImageError, "mask"),
        (b"hello", ImageTypeError, "mask"),
        (b"", ImageError, "empty"),
    ],
)
def test_unusable_masks_are_named(data: bytes, kind: type[ImageError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        decode_mask(data, Limits(), 80, 60)
    assert caught.value.param == "mask"


def test_a_mask_confines_what_can_be_confined() -> None:
    plan = Plan(edits=(
        Edit(adjust="exposure", amount=0.5), Edit(adjust="rotate", amount=0.5),
        Edit(adjust="blur", amount=0.5, region="background"), Edit(adjust="inpaint", amount=1.0, region="masked"),
    ), beyond=0.9)
    confined = within_mask(plan, vocabulary())
    assert [(edit.adjust, edit.region) for edit in confined.edits] == [
        ("exposure", "masked"), ("rotate", "all"), ("blur", "background"), ("inpaint", "masked"),
    ]
    assert confined.beyond == 0.0, "what is painted over can be erased here"
    assert [edit.adjust for edit in without_mask(plan).edits] == ["exposure", "rotate", "blur"]
