from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.service import EditService
from server.app import create_app

Made = Callable[..., FlaskClient]


@pytest.fixture(scope="session")
def service() -> Iterator[EditService]:
    """The real small model, opened once."""
    with ExitStack() as stack:
        service = EditService([Editor.open(EMBEDDED)])
        stack.callback(service.close)
        yield service


@pytest.fixture
def made(service: EditService, tmp_path: Path) -> Iterator[Made]:
    """Makes clients of applications on the test's state folder; their jobs are stopped at the end."""
    with ExitStack() as stack:

        def make(given: EditService = service, **config: Any) -> FlaskClient:
            app = create_app(given, {"state": tmp_path / "state", **config})
            stack.callback(app.extensions["nanoedge"].access.close)
            stack.callback(lambda: app.extensions["nanoedge.jobs"].stop(20))
            return app.test_client()

        yield make


@pytest.fixture
def client(made: Made) -> FlaskClient:
    return made()


def ended(client: FlaskClient, url: str, seconds: float = 20.0) -> dict[str, Any]:
    """Poll until the job has ended."""
    end = time.monotonic() + seconds
    while True:
        answer = client.get(url)
        assert answer.status_code == 200, answer.get_data()
        told: dict[str, Any] = answer.get_json()
        if told["status"] not in ("Pending", "Processing"):
            return told
        assert answer.headers["Retry-After"] == "1" and time.monotonic() < end
        time.sleep(0.03)
