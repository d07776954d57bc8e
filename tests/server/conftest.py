from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import skimage
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from server.app import create_app
from tests.server.darkroom import Darkroom
from tests.server.started import Started, started_server

PHOTOS = Path(skimage.__file__).parent / "data"


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A real photograph as JPEG, 600 x 400."""
    stream = BytesIO()
    with Image.open(PHOTOS / "coffee.png") as picture:
        picture.convert("RGB").save(stream, "JPEG", quality=92)
    return stream.getvalue()


@pytest.fixture
def darkroom() -> Iterator[Darkroom]:
    service = Darkroom()
    yield service
    service.close()


@pytest.fixture
def app(darkroom: Darkroom) -> Flask:
    return create_app(darkroom, {"max_waiting": 2, "max_body_bytes": 2 * 1024**2, "trusted_hosts": ("localhost",)})


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="session")
def running() -> Iterator[Started]:
    """A really started server with the real models."""
    with started_server() as server:
        yield server
