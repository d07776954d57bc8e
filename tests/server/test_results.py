"""Stored results: addresses, sessions over them, links; a folder's files, sealed and whole."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import openai
import pytest
import urllib3
from flask.testing import FlaskClient
from PIL import Image

from edge_runtime.errors import GoneError, OptionError, StateError, UnknownError
from server.app import create_app
from server.results import LINK_SECONDS, Results
from server.sealing import MASTER_KEY
from tests.server.darkroom import Darkroom
from tests.server.keyed import keyed
from tests.server.started import ROOT, Started, command

Made = Callable[..., FlaskClient]


@pytest.fixture
def made(tmp_path: Path, darkroom: Darkroom) -> Iterator[Made]:
    with ExitStack() as stack:

        def make(**config: Any) -> FlaskClient:
            app = create_app(darkroom, {"state": tmp_path / "state", **config})  # type: ignore[arg-type]
            stack.callback(app.extensions["nanoedge"].access.close)
            stack.callback(lambda: app.extensions["nanoedge.jobs"].stop(5))
            return app.test_client()

        yield make


def edit(client: FlaskClient, **members: object) -> dict[str, Any]:
    answer = client.post("/edit", json={"output_format": "png", **members})
    assert answer.status_code == 200, answer.get_data()
    told: dict[str, Any] = answer.get_json()
    return told


def test_a_session_goes_on_from_any_result_on_any_node(made: Made, tmp_path: Path, photo: bytes) -> None:
    encoded = base64.b64encode(photo).decode()
    one, other = made(), made()
    assert "address" not in edit(one, image_base64=encoded, instructions="warmer"), "nothing is stored unasked"
    assert not (tmp_path / "state").exists()
    first = edit(one, image_base64=encoded, instructions="warmer", store=True)
    picture = base64.b64decode(first["image_base64"])
    assert first["address"] == f"sha256:{hashlib.sha256(picture).hexdigest()}"
    grey = edit(other, parent=first["address"], instructions="black and white")
    assert np.ptp(pixels(grey), axis=-1).max() == 0 and grey["address"] != first["address"]
    branch = edit(one, parent=first["address"], instructions="brighter")
    assert branch["address"] not in (first["address"], grey["address"])
    again = edit(one, parent=first["address"], instructions="black and white")
    assert again["address"] == grey["address"], "undone and done again"
    assert len([path for path in (tmp_path / "state" / "results").rglob("*") if path.is_file()]) == 3


def pixels(told: dict[str, Any]) -> np.ndarray:
    with Image.open(BytesIO(base64.b64decode(told["image_base64"]))) as picture:
        return np.asarray(picture.convert("RGB"), int)


def test_an_image_answer_carries_its_address(made: Made, photo: bytes) -> None:
    client = made()
    form = {"image": (BytesIO(photo), "p.jpg"), "instructions": "warmer", "store": "true"}
    answer = client.post("/edit", data=form, headers={"Accept": "image/png"})
    assert answer.headers["X-Address"] == f"sha256:{hashlib.sha256(answer.get_data()).hexdigest()}"


def test_openai_clients_go_on_and_get_links(made: Made, photo: bytes) -> None:
    client = made()
    form = {"image": (BytesIO(photo), "p.jpg"), "prompt": "warmer", "response_format": "url"}
    told = client.post("/v1/images/edits", data=form).get_json()
    link = told["data"][0]["url"]
    fetched = client.get(link)
    assert fetched.status_code == 200 and fetched.mimetype == "image/jpeg"
    assert told["x_address"] == f"sha256:{hashlib.sha256(fetched.get_data()).hexdigest()}"
    more = client.post("/v1/images/edits", data={"parent": told["x_address"], "prompt": "black and white"}).get_json()
    assert more["x_address"] != told["x_address"] and "b64_json" in more["data"][0]
    for changed in (link[:-1] + ("0" if link[-1] != "0" else "1"), link.replace("expires=", "expires=9"),
                    urlsplit(link).path):  # fmt: skip
        assert client.get(changed).status_code == 404


def test_the_openai_client_streams_a_link_and_goes_on_from_it(running: Started, photo: bytes) -> None:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
        fields = {"prompt": "warmer", "response_format": "url"}
        first = client.images.edit(image=("p.jpg", photo), **fields)  # type: ignore[call-overload]
        parent = {"parent": first.model_dump()["x_address"]}
        events = list(client.images.edit(image=[], **fields, stream=True, extra_body=parent))  # type: ignore[call-overload]
    told = events[-1].model_dump()
    assert told["type"] == "image_edit.completed" and told["x_address"] != parent["parent"]
    fetched = urllib3.request("GET", told["url"], retries=False)
    assert f"sha256:{hashlib.sha256(fetched.data).hexdigest()}" == told["x_address"]


def test_links_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(None, tmp_path, 60)
    address = results.put("anna", b"picture", "image/png")
    query = dict(part.split("=") for part in urlsplit(results.link("anna", address, "http://x/")).query.split("&"))
    name = f"{hashlib.sha256(b'anna').hexdigest()[:32]}/{address[7:]}"
    assert results.linked(name, int(query["expires"]), query["signature"])[0] == b"picture"
    later = time.time() + LINK_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(GoneError):
        results.linked(name, int(query["expires"]), query["signature"])


def test_addresses_are_their_callers(made: Made, photo: bytes) -> None:
    anna, berta = keyed(made().application), keyed(made().application)
    address = edit(anna, image_base64=base64.b64encode(photo).decode(), instructions="warmer", store=True)["address"]
    assert berta.post("/edit", json={"parent": address, "instructions": "warmer"}).status_code == 404
    assert edit(anna, parent=address, instructions="warmer")["address"]


@pytest.mark.parametrize("address", ["", "sha256:", "sha256:../../etc/passwd", "0" * 64, f"sha256:{'g' * 64}"])
def test_odd_addresses_are_refused(made: Made, address: str) -> None:
    answer = made().post("/edit", json={"parent": address, "instructions": "warmer"})
    assert answer.status_code == 400 and answer.get_json()["error"]["param"] == "parent"


def test_an_unknown_address_is_not_found(made: Made) -> None:
    answer = made().post("/edit", json={"parent": f"sha256:{'0' * 64}", "instructions": "warmer"})
    assert answer.status_code == 404 and answer.get_json()["error"]["param"] == "parent"


def test_nothing_is_done_where_its_result_could_not_be_stored(made: Made, darkroom: Darkroom, photo: bytes) -> None:
    client = made(state=None)
    form = {"image": (BytesIO(photo), "p.jpg"), "prompt": "warmer", "response_format": "url"}
    assert client.post("/v1/images/edits", data=form).status_code == 501
    body = {"image_base64": base64.b64encode(photo).decode(), "instructions": "warmer", "store": True}
    assert client.post("/edit", json=body).status_code == 501 and darkroom.edits == 0


def test_files_are_sealed_whole_and_swept(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    results = Results(str(folder), tmp_path / "state", 60)
    address = results.put("anna", b"a picture" * 100, "image/png")
    assert results.put("anna", b"a picture" * 100, "image/png") == address
    (file,) = [path for path in folder.rglob("*") if path.is_file()]
    assert b"a picture" not in file.read_bytes() and file.stat().st_mode & 0o077 == 0
    unfinished = file.with_name("x.part")
    unfinished.touch()
    results.sweep()
    assert file.exists() and unfinished.exists(), "another process may be writing it"
    os.utime(unfinished, (1, 1))
    results.sweep()
    assert not unfinished.exists() and results.get("anna", address) == b"a picture" * 100
    os.utime(file, (1, 1))
    results.sweep()
    with pytest.raises(UnknownError):
        results.get("anna", address)


def test_a_changed_or_moved_file_is_not_opened(tmp_path: Path) -> None:
    results = Results(None, tmp_path, 60)
    one, two = (results.put("anna", data, "image/png") for data in (b"one", b"two"))
    files = {path.name: path for path in (tmp_path / "results").rglob("*") if path.is_file()}
    files[two[7:]].write_bytes(files[one[7:]].read_bytes())
    with pytest.raises(StateError):
        results.get("anna", two)
    (tmp_path / MASTER_KEY).unlink()
    with pytest.raises(StateError):
        Results(None, tmp_path, 60).get("anna", one)


def test_an_unknown_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="folder, s3"):
        Results("ftp://somewhere/x", tmp_path, 60).put("anna", b"x", "image/png")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StateError, match="can't be stored"):
        Results(str(file), tmp_path / "state", 60).put("anna", b"x", "image/png")
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == '["file", "state"]'


def test_a_place_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    arguments = command("--port", "0", "--state", str(tmp_path), "--store", "ftp://somewhere/x")
    ended = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "Allowed: folder, s3" in ended.stderr
