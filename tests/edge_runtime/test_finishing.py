"""Sharpening, formats and the colour profile, on real photographs."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image, ImageCms, features

from edge_runtime.errors import OptionError
from edge_runtime.finishing import sharpened, written
from edge_runtime.images import decode
from edge_runtime.limits import Limits
from edge_runtime.request import OUTPUT_FORMATS, EditRequest

PHOTO = (Path(skimage.__file__).parent / "data" / "coffee.png").read_bytes()
FORMATS = [name for name in OUTPUT_FORMATS if name != "avif" or features.check("avif")]


def asked(**options: object) -> EditRequest:
    return EditRequest(image=PHOTO, instruction="warmer", **options)  # type: ignore[arg-type]


def steepness(pixels: np.ndarray) -> float:
    grey = pixels[..., :3].astype(float).mean(axis=-1)
    return float(np.abs(np.diff(grey, axis=1)).mean())


def test_edges_get_steeper_by_the_amount_and_transparency_stays() -> None:
    pixels = decode(PHOTO, Limits()).pixels.copy()
    pixels[:50, :, 3] = 100
    found = [sharpened(pixels, amount) for amount in (0.0, 0.3, 1.0)]
    assert (found[0] == pixels).all()
    assert steepness(found[0]) * 1.05 < steepness(found[1]) < steepness(found[2])
    assert all((one[..., 3] == pixels[..., 3]).all() for one in found)
    flat = np.full((20, 20, 4), 77, np.uint8)
    assert (sharpened(flat, 1.0) == flat).all()


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_profile_says_srgb_and_changes_no_pixel(output_format: str) -> None:
    pixels = decode(PHOTO, Limits()).pixels
    plain, media_type, _ = written(pixels, False, "png", asked(output_format=output_format))
    tagged, _, _ = written(pixels, False, "png", asked(output_format=output_format, profile="srgb"))
    assert media_type == f"image/{output_format}"
    with Image.open(BytesIO(plain)) as one, Image.open(BytesIO(tagged)) as other:
        assert not one.info.get("icc_profile")
        profile = ImageCms.ImageCmsProfile(BytesIO(other.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
    assert (decode(plain, Limits()).pixels == decode(tagged, Limits()).pixels).all()


def test_the_natural_format_is_for_requests_that_name_none() -> None:
    pixels = decode(PHOTO, Limits()).pixels[:40, :40]
    assert written(pixels, False, "webp", asked())[1] == "image/webp"
    assert written(pixels, False, "webp", asked(output_format="jpeg"))[1] == "image/jpeg"


@pytest.mark.parametrize("options", [{"sharpen": 1.1}, {"sharpen": -0.1}, {"sharpen": float("nan")}, {"profile": "p3"}])
def test_what_is_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        asked(**options)
