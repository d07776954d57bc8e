"""Jobs over HTTP, with the real small model: admitted, polled, fetched, cancelled, expired."""

from __future__ import annotations

import base64
import sqlite3
import subprocess
import time
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from server.jobs.database import FILE
from server.quota import Quota
from server.sealing import MASTER_KEY
from tests.server.jobs.conftest import Made, ended
from tests.server.keyed import keyed
from tests.server.started import ROOT, command

JOBS = "/v1/edits/jobs"


def post(client: FlaskClient, photo: bytes, path: str = JOBS, *, headers: Any = None, **fields: str) -> TestResponse:
    data = {"image": (BytesIO(photo), "p.jpg"), "instructions": "warmer", **fields}
    return client.post(path, data=data, headers=headers)


def test_a_job_from_its_admission_to_its_picture(client: FlaskClient, photo: bytes) -> None:
    answer = post(client, photo, output_format="webp", size="300", odd="1")
    body = answer.get_json()
    assert answer.status_code == 202 and set(body) == {"id", "polling_url", "status"}
    assert body["status"] == "Pending" and len(body["id"]) == 32 and answer.headers["Retry-After"]
    assert answer.headers["Location"] == body["polling_url"] == f"http://localhost{JOBS}/{body['id']}"
    told = ended(client, body["polling_url"])
    assert told["status"] == "Ready" and told["progress"] == 1 and told["error"] is None
    result = told["result"]
    assert result["plan"]["edits"][0]["adjust"] == "warmth" and result["route"]["site"] == "local"
    assert result["warnings"] == ["unknown field ignored: odd"] and "address" not in result
    picture = client.get(result["sample"])
    assert picture.mimetype == "image/webp" and picture.headers["X-Model"] == "nano-banana"
    with Image.open(BytesIO(picture.get_data())) as opened:
        assert opened.size == (300, 200) and opened.format == "WEBP"


def test_edit_is_a_job_where_that_is_preferred(client: FlaskClient, photo: bytes) -> None:
    answer = post(client, photo, "/edit", headers={"Prefer": "wait=3, Respond-Async"})
    assert answer.status_code == 202 and answer.headers["Preference-Applied"] == "respond-async"
    assert ended(client, answer.get_json()["polling_url"])["status"] == "Ready"
    assert post(client, photo, "/edit").status_code == 200


def test_the_same_request_makes_one_job(client: FlaskClient, photo: bytes) -> None:
    first = post(client, photo, headers={"Idempotency-Key": '"k"'}).get_json()
    assert post(client, photo, headers={"Idempotency-Key": "k"}).get_json()["id"] == first["id"], "quoted or not"
    other = post(client, photo, headers={"Idempotency-Key": "k"}, size="200")
    assert other.status_code == 422 and other.get_json()["error"]["code"] == "key_reused"
    assert post(client, photo, headers={"Idempotency-Key": ""}).status_code == 400
    bare = post(client, photo).get_json()
    assert bare["id"] != first["id"]
    again = post(client, photo, headers={"X-Stainless-Retry-Count": "1"}).get_json()
    assert again["id"] == bare["id"], "whatever the form's boundary"
    assert post(client, photo).get_json()["id"] != bare["id"], "anybody may be two people"


def test_the_same_body_of_a_known_caller_makes_one_job(client: FlaskClient, photo: bytes) -> None:
    client = keyed(client.application)
    known = post(client, photo).get_json()["id"]
    assert post(client, photo).get_json()["id"] == known
    assert post(client, photo, headers={"Cache-Control": "no-cache"}).get_json()["id"] != known


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"instructions": ""}, 400, "bad_instruction"),
        ({"model": "other"}, 404, "model_not_found"),
        ({"fallback": "only"}, 422, "no_route"),
        ({"parent": "sha256:1"}, 400, "too_many_images"),
        ({"webhook_url": "https://example.com/", "webhook_secret": "short"}, 400, "bad_option"),
        ({"webhook_url": "ftp://example.com/"}, 400, "bad_option"),
        ({"webhook_url": "http://example.com:8080/", "webhook_secret": "s" * 20}, 400, "bad_option"),
    ],
)
def test_what_can_never_be_done_is_no_job(
    client: FlaskClient, photo: bytes, fields: dict[str, str], status: int, code: str
) -> None:
    answer = post(client, photo, **fields)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (status, code)


def test_a_picture_that_cannot_be_decoded_ends_in_an_error(client: FlaskClient, photo: bytes) -> None:
    told = ended(client, post(client, photo[: len(photo) // 3]).get_json()["polling_url"])
    assert told["status"] == "Error" and told["error"]["code"] == "bad_image" and told["result"] is None
    refused = client.get(told["polling_url"] + "/result")
    assert refused.status_code == 409 and refused.get_json()["error"]["code"] == "no_result"


def test_a_deadline_that_passed_in_the_queue_ends_a_job(client: FlaskClient, photo: bytes) -> None:
    told = ended(client, post(client, photo, deadline_ms="1").get_json()["polling_url"])
    assert told["error"]["status"] == 504


def test_cancelling(client: FlaskClient, photo: bytes) -> None:
    done = post(client, photo).get_json()["polling_url"]
    ended(client, done)
    refused = client.post(f"{done}/cancel")
    assert refused.status_code == 409 and refused.get_json()["error"]["code"] == "job_ended"
    lane = client.application.extensions["nanoedge"].lane
    with lane.place(), lane.turn(lambda: False):  # somebody's edit runs: the job must wait
        waiting = post(client, photo, size="100").get_json()["polling_url"]
        second = post(client, photo, size="90").get_json()["polling_url"]
        assert client.get(second).get_json()["queue_position"] in (0, 1)
        for url in (waiting, second):
            answer = client.post(f"{url}/cancel")
            assert (answer.status_code, answer.get_json()["status"]) == (200, "Cancelled")
    assert client.get(waiting).get_json()["status"] == "Cancelled"
    assert client.get(f"{waiting}/result").status_code == 409


def test_a_job_waits_while_the_lane_is_full(made: Made, photo: bytes) -> None:
    client = made(max_waiting=0)
    with client.application.extensions["nanoedge"].lane.place():
        url = post(client, photo).get_json()["polling_url"]
        assert client.get(url).get_json()["status"] in ("Pending", "Processing")
    told = ended(client, url)
    assert told["status"] == "Ready"


def test_unknown_foreign_and_expired_jobs(made: Made, tmp_path: Path, photo: bytes) -> None:
    client = keyed(made(keep_seconds=0.5).application)
    url = post(client, photo).get_json()["polling_url"]
    ended(client, url)
    assert client.get(f"{JOBS}/{'0' * 32}").status_code == 404
    jobs = client.application.extensions["nanoedge.jobs"]
    jobs.stop(10)
    stranger = keyed(made().application)
    answers = (stranger.get(url), stranger.post(f"{url}/cancel"), stranger.get(f"{url}/result"))
    assert [answer.status_code for answer in answers] == [404] * 3
    with closing(sqlite3.connect(tmp_path / "state" / FILE)) as connection, connection:
        connection.execute("UPDATE jobs SET expires = ?", (time.time() - 1,))
    stranger.application.extensions["nanoedge.jobs"]._opened().store.sweep()
    assert client.get(url).status_code == 410


def test_a_node_without_a_state_folder_keeps_no_jobs(made: Made, photo: bytes) -> None:
    answer = post(made(state=None), photo)
    assert answer.status_code == 501 and "--state" in answer.get_json()["detail"]


def test_a_job_that_ends_the_process_each_time_is_given_up(made: Made, tmp_path: Path, photo: bytes) -> None:
    client = made()
    lane = client.application.extensions["nanoedge"].lane
    with lane.place(), lane.turn(lambda: False):
        url = post(client, photo).get_json()["polling_url"]
        client.application.extensions["nanoedge.jobs"].stop(0)
    with closing(sqlite3.connect(tmp_path / "state" / FILE)) as connection, connection:
        connection.execute("UPDATE jobs SET attempts = 3, state = 'Processing', owner = 'dead', lease_until = 1")
    told = ended(made(), url)
    assert told["error"]["code"] == "engine_failed" and "ended 3 times" in told["error"]["message"]


def test_a_server_does_not_start_on_jobs_of_a_newer_version(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("PRAGMA user_version = 9")
    (tmp_path / MASTER_KEY).write_bytes(b"k" * 32)
    (tmp_path / MASTER_KEY).chmod(0o600)
    arguments = command("--port", "0", "--state", str(tmp_path))
    ended = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert ended.returncode == 12 and ended.stderr.count("\n") == 1 and "newer nanoedge" in ended.stderr


def test_a_fetched_result_goes_when_a_job_needs_its_room(made: Made, photo: bytes) -> None:
    client = made(quota=Quota(total=2 * len(photo)))
    first = post(client, photo, output_format="png").get_json()["polling_url"]
    told = ended(client, first)
    assert told["status"] == "Ready" and 'imgedit_kept_bytes{what="jobs"}' in client.get("/metrics").text
    full = post(client, photo, instructions="cooler")
    assert full.status_code == 503 and full.headers["Retry-After"] == "60" and "fetched" in full.get_json()["detail"]
    assert len(client.get(f"{first}/result").data) > len(photo), "the PNG, which alone leaves no room"
    assert post(client, photo, instructions="cooler").status_code == 202
    assert client.get(first).status_code == 410


def test_a_place_that_fails_is_the_operators_business(client: FlaskClient, tmp_path: Path, photo: bytes) -> None:
    """The picture was made, so it is not lost; which file is at fault stands in the log alone."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "results").write_text("in the way")
    told = ended(client, post(client, photo, store="true").get_json()["polling_url"])
    assert told["status"] == "Ready" and "address" not in told["result"], told
    (warning,) = told["result"]["warnings"]
    assert "no address" in warning and str(tmp_path) not in warning
    form = {"image": (BytesIO(photo), "p.jpg"), "prompt": "warmer", "stream": "true", "store": "true"}
    event = client.post("/v1/images/edits", data=form).text
    assert "event: image_edit.completed" in event and "no address" in event and str(tmp_path) not in event
    for path, words in (("/edit", "instructions"), ("/v1/images/edits", "prompt")):
        form = {"image": (BytesIO(photo), "p.jpg"), words: "warmer", "store": "true"}
        answered = client.post(path, data=form).get_json()
        assert "no address" in answered["warnings"][-1] and "address" not in answered and "x_address" not in answered
        picture = answered["image_base64"] if path == "/edit" else answered["data"][0]["b64_json"]
        assert base64.b64decode(picture).startswith(b"\xff\xd8")
    form = {"image": (BytesIO(photo), "p.jpg"), "prompt": "warmer", "response_format": "url"}
    linked = client.post("/v1/images/edits", data=form).get_json()
    assert linked["data"][0]["b64_json"] and "no address" in linked["warnings"][-1], "itself, where there is no link"
