"""What happens when nothing more fits here: refused, or sent to a provider where that is allowed. In process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.provider import ProviderSettings
from edge_runtime.remote import Remote
from edge_runtime.request import HOPS_HEADER
from edge_runtime.service import EditService, open_service
from server.app import create_app
from server.node import Node
from tests.providers.origin import Origin, started
from tests.providers.protocols import KEY, PROTOCOLS


@pytest.fixture
def origin() -> Iterator[Origin]:
    with started(PROTOCOLS["openai"].answer) as server:
        yield server


@pytest.fixture
def app(origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """A node with one provider, and places for two edits here and one there."""
    monkeypatch.setenv("CENTRAL_KEY", KEY)
    entry = {"name": "central", "kind": "openai-compatible", "base_url": f"{origin.url}/v1", "model": "painter",
             "key_env": "CENTRAL_KEY", "seconds": 5}  # fmt: skip
    file = tmp_path / "providers.json"
    file.write_text(json.dumps({"providers": [entry]}))
    service = open_service(providers=file)
    yield create_app(service, {"max_waiting": 1, "max_outgoing": 1, "providers": file})
    service.close()


def edit(client: FlaskClient, photo: bytes, **fields: str) -> Any:
    data = {"image": (BytesIO(photo), "p.jpg"), "instructions": "warmer", "size": "64", **fields}
    return client.post("/edit", data=data)


def test_a_full_node_sends_what_may_leave(app: Flask, origin: Origin, photo: bytes) -> None:
    client, node = app.test_client(), app.extensions["nanoedge"]
    assert isinstance(node, Node)
    with ExitStack() as full:
        for _ in range(2):
            full.enter_context(node.lane.place())
        refused = edit(client, photo)
        assert refused.status_code == 503 and int(refused.headers["Retry-After"]) >= 1 and not origin.asked
        sent = edit(client, photo, fallback="allow").get_json()
        assert sent["route"]["site"] == "central" and len(origin.submissions) == 1
        assert "too many edits" in sent["route"]["not_chosen"][0]["why"].lower()
        with node.outgoing.place():
            assert edit(client, photo, fallback="allow").status_code == 503
    assert edit(client, photo).get_json()["route"]["site"] == "local"
    assert node.lane.waiting == 0


def test_no_place_is_kept_for_what_another_node_passed_on(app: Flask, photo: bytes) -> None:
    """That node finds another way; a central must not wait for it while others ask."""
    client, node = app.test_client(), app.extensions["nanoedge"]
    with ExitStack() as full:
        for _ in range(2):
            full.enter_context(node.lane.place())
        for _ in range(5):
            form = {"image": (BytesIO(photo), "p.jpg"), "instructions": "warmer"}
            refused = client.post("/edit", data=form, headers={HOPS_HEADER: "1"})
            assert refused.status_code == 503 and int(refused.headers["Retry-After"]) >= 1
        assert not node.lane._promises._due
        assert edit(client, photo).status_code == 503 and len(node.lane._promises._due) == 1


def test_an_edit_at_a_provider_takes_no_place_here(app: Flask, origin: Origin, photo: bytes) -> None:
    client, node = app.test_client(), app.extensions["nanoedge"]
    whole, waiting = origin.protocol, []

    def look(server: Any, asked: Any) -> Any:
        waiting.append(node.lane.waiting)
        return whole(server, asked)

    origin.protocol = look
    assert edit(client, photo, fallback="only").status_code == 200
    assert waiting == [0]


def test_a_node_that_shuts_down_sends_nothing_away(app: Flask, origin: Origin, photo: bytes) -> None:
    app.extensions["nanoedge"].lane.drain()
    assert edit(app.test_client(), photo, fallback="allow").status_code == 503 and not origin.asked


def test_a_model_here_that_breaks_is_replaced_where_that_is_allowed(
    origin: Origin, tmp_path: Path, photo: bytes
) -> None:
    """A graph of the artifact is damaged after it was opened and checked, before its first use."""
    folder = tmp_path / "nano-banana"
    shutil.copytree(EMBEDDED, folder)
    settings = ProviderSettings(
        name="central", kind="openai-compatible", base_url=f"{origin.url}/v1", model="painter", key=KEY,
        options={"mask": "transparent", "extensions": "yes"},
    )
    with Editor.open(folder) as editor:
        (folder / "render.onnx").write_bytes(b"damaged")
        service = EditService([editor], [Remote(settings)])
        client = create_app(service, {"providers": tmp_path}).test_client()
        assert edit(client, photo, model="nano-banana").get_json()["error"]["code"] == "engine_failed"
        done = edit(client, photo, fallback="allow").get_json()
    assert done["route"]["not_chosen"][0]["why"].startswith("it failed in this request") and done["model"] == "painter"
