from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
import skimage
from PIL import Image

from edge_runtime import plugins
from edge_runtime.provider import ProviderSettings
from edge_runtime.remote import Remote
from edge_runtime.request import EditRequest
from tests.providers.origin import Origin, started
from tests.providers.protocols import KEY, PROTOCOLS

Placed = tuple[Origin, Remote]


def jpeg_with_place() -> bytes:
    """A photograph of 300 x 200 whose metadata says where it was taken."""
    stream = BytesIO()
    with Image.open(f"{skimage.__path__[0]}/data/coffee.png") as picture:
        exif = Image.Exif()
        exif.get_ifd(0x8825)[1] = "N"
        exif[0x010E] = "at home"
        picture.convert("RGB").resize((300, 200)).save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


@pytest.fixture(scope="session")
def small_photo() -> bytes:
    return jpeg_with_place()


@pytest.fixture
def asking(small_photo: bytes) -> Callable[..., EditRequest]:
    """Makes a request for the photo."""

    def make(**changes: Any) -> EditRequest:
        return replace(EditRequest(image=small_photo, instruction="add a hat", output_format="png"), **changes)

    return make


@pytest.fixture
def placed() -> Iterator[Callable[..., Placed]]:
    """Starts a provider's server and configures a remote for it."""
    with ExitStack() as stack:

        def place(name: str, **changes: Any) -> Placed:
            protocol = PROTOCOLS[name]
            server = stack.enter_context(started(protocol.answer))
            kind = plugins.load("providers", protocol.kind)
            known = {name: values[0] for name, values in kind.options.items()}
            settings = ProviderSettings(
                name="central", kind=protocol.kind, base_url=server.url + protocol.path, model=protocol.model, key=KEY,
                price_usd=0.04, options={**known, **protocol.options, **changes.pop("options", {})},
            )
            return server, Remote(replace(settings, **changes))

        yield place
