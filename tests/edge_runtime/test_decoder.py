"""Decoding in a child with limits: the same pixels, and what a picture can break."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from edge_runtime import images
from edge_runtime.child import Spawner
from edge_runtime.decoder import Bounds, Decoder
from edge_runtime.errors import ImageError, ImageSizeError, ImageTypeError
from edge_runtime.limits import Limits
from edge_runtime.request import Size


@pytest.fixture(scope="module")
def spawner() -> Iterator[Spawner]:
    made = Spawner()
    yield made
    made.close()


@pytest.fixture(scope="module")
def decoder(spawner: Spawner) -> Iterator[Decoder]:
    made = Decoder(spawner)
    yield made
    made.close()


def picture(width: int = 96, height: int = 64) -> Image.Image:
    rows = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)
    return Image.merge("RGBA", [Image.fromarray(rows), Image.fromarray(255 - rows)] * 2)


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


FORMATS = {
    "jpeg": encoded(picture().convert("RGB"), "JPEG"), "png": encoded(picture(), "PNG"),
    "webp": encoded(picture(), "WEBP"), "avif": encoded(picture(), "AVIF"),
    "gif": encoded(picture().convert("P"), "GIF"), "tiff": encoded(picture(), "TIFF"),
    "bmp": encoded(picture().convert("RGB"), "BMP"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_pixels_are_those_of_decoding_here(decoder: Decoder, name: str) -> None:
    for fit in (None, Size(width=40, height=40)):
        here, there = images.decode(FORMATS[name], Limits(), fit), decoder.decode(FORMATS[name], Limits(), fit)
        assert (here.pixels == there.pixels).all() and there.pixels.flags.writeable
        assert (here.has_alpha, here.source_format, here.warnings) == (
            there.has_alpha, there.source_format, there.warnings,
        )  # fmt: skip
    assert images.size_of(FORMATS[name], Limits()) == (96, 64)


def test_refusals_are_those_of_decoding_here(decoder: Decoder) -> None:
    for data, limits in (
        (b"", Limits()), (b"nonsense", Limits()), (FORMATS["png"][:80], Limits()),
        (FORMATS["webp"][:60], Limits()), (FORMATS["avif"][:300], Limits()), (FORMATS["avif"], Limits(max_pixels=100)),
    ):  # fmt: skip
        with pytest.raises(ImageError) as here:
            images.decode(data, limits)
        with pytest.raises(ImageError) as there:
            decoder.decode(data, limits)
        assert (type(there.value), there.value.code) == (type(here.value), here.value.code)
    with pytest.raises(ImageTypeError):
        decoder.decode(b"<svg/>", Limits())


def test_a_decoder_that_is_lost_is_replaced(decoder: Decoder) -> None:
    decoder.start()
    first = decoder.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert decoder.decode(FORMATS["jpeg"], Limits()).pixels.shape == (64, 96, 4)
    assert decoder.pid != first


@pytest.mark.slow
def test_a_decoder_that_stands_still_is_replaced(decoder: Decoder) -> None:
    decoder.start()
    assert decoder.pid is not None
    os.kill(decoder.pid, signal.SIGSTOP)
    assert decoder.decode(FORMATS["jpeg"], Limits()).pixels.shape == (64, 96, 4)


@cache
def costly_picture() -> bytes:
    """49 megapixels of 16 bits, to be turned: small as a file, seconds and most of a gigabyte to decode."""
    turned = Image.Exif()
    turned[0x0112] = 6
    return encoded(Image.fromarray(np.full((7000, 7000), 9000, np.uint16)), "PNG", compress_level=1, exif=turned)


@pytest.mark.slow
def test_a_picture_that_takes_too_long_ends_its_decoder(spawner: Spawner) -> None:
    hasty = Decoder(spawner, Bounds(least_seconds=0, seconds_per_megapixel=0))
    with pytest.raises(ImageSizeError) as refused:
        hasty.decode(costly_picture(), Limits())
    assert refused.value.code == "image_too_costly"
    assert hasty.decode(FORMATS["jpeg"], Limits()).pixels.shape == (64, 96, 4)
    hasty.close()


@pytest.mark.slow
def test_a_picture_that_takes_too_much_memory_is_refused(spawner: Spawner) -> None:
    narrow = Decoder(spawner, Bounds(memory_bytes=400 << 20))
    assert narrow.decode(FORMATS["jpeg"], Limits()).pixels.shape == (64, 96, 4)
    with pytest.raises(ImageError):
        narrow.decode(costly_picture(), Limits())
    assert narrow.decode(FORMATS["png"], Limits()).pixels.shape == (64, 96, 4)
    narrow.close()
    ample = Decoder(spawner)
    assert ample.decode(costly_picture(), Limits()).pixels.shape == (7000, 7000, 4), "what is allowed fits"
    ample.close()


@pytest.mark.slow
def test_a_picture_that_ends_its_decoder_twice_is_refused(decoder: Decoder) -> None:
    """No file is known that crashes Pillow; a signal in the middle of the work is what such a one would do."""
    large = encoded(picture(7000, 7000).convert("RGB"), "JPEG")
    decoder.start()
    done = threading.Event()

    def hurt() -> None:
        while not done.wait(0.05):
            if decoder.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(decoder.pid, signal.SIGSEGV)

    attacker = threading.Thread(target=hurt)
    attacker.start()
    try:
        with pytest.raises(ImageError) as refused:
            decoder.decode(large, Limits())
    finally:
        done.set()
        attacker.join()
    assert refused.value.code == "breaks_decoder"
    began = time.monotonic()
    assert decoder.decode(FORMATS["jpeg"], Limits()).pixels.shape == (64, 96, 4)
    assert time.monotonic() - began < 20
