"""What every answer has in common: problems, headers, limits, metrics, and the lane in front of the model."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from edge_runtime.errors import AbandonedError, BusyError, OptionError
from edge_runtime.request import EditRequest, EditResult
from server.app import create_app
from server.lane import Lane
from tests.server.darkroom import Darkroom


def edit(client: FlaskClient, photo: bytes) -> TestResponse:
    return client.post("/edit", data={"image": (BytesIO(photo), "photo.jpg"), "instructions": "warmer"})


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/page/../app.py", 404, "not_found"),
        ("GET", "/page/%2e%2e%2fapp.py", 404, "not_found"),
        ("DELETE", "/edit", 405, "method_not_allowed"),
        ("GET", "/v1/images/edits", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_errors_are_problems(client: FlaskClient, method: str, path: str, status: int, code: str) -> None:
    response = client.open(path, method=method)
    body = response.get_json()
    assert response.status_code == body["status"] == status
    assert response.mimetype == "application/problem+json"
    assert body["error"]["code"] == code and body["detail"] == body["error"]["message"]
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert (response.headers.get("Allow") is not None) == (status == 405)


@pytest.mark.parametrize("path", ["/edit", "/v1/images/edits", "/v1/plans"])
@pytest.mark.parametrize("kind", ["text/plain", "application/xml", ""])
def test_other_media_types(client: FlaskClient, path: str, kind: str) -> None:
    response = client.post(path, data=b"<a/>", content_type=kind)
    assert response.status_code == 415 and response.get_json()["error"]["code"] == "unsupported_media_type"


@pytest.mark.parametrize("body", [b"", b"{", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_bodies_that_are_no_json_object(client: FlaskClient, body: bytes) -> None:
    response = client.post("/edit", data=body, content_type="application/json")
    assert response.status_code == 400 and response.mimetype == "application/problem+json"


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_broken_multipart(client: FlaskClient, kind: str) -> None:
    assert client.post("/edit", data=b"--y\r\nnonsense", content_type=kind).status_code == 400


def test_a_body_over_the_limit(client: FlaskClient) -> None:
    response = client.post("/edit", data=b"\0" * 3 * 1024**2, content_type="multipart/form-data; boundary=x")
    assert response.status_code == 413 and "2 MiB" in response.get_json()["detail"]


def test_a_form_with_very_many_parts(client: FlaskClient) -> None:
    form = {f"field{i}": "x" for i in range(2000)}
    response = client.post("/edit", data=form, content_type="multipart/form-data")
    assert response.status_code == 413


def test_a_crash_shows_no_traceback(photo: bytes, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Darkroom):
        def _edited(self, request: EditRequest) -> EditResult:
            raise RuntimeError("secret path /home/me")

    client = create_app(Broken()).test_client()
    response = edit(client, photo)
    assert response.status_code == 500 and "secret" not in response.text and "Traceback" not in response.text
    assert response.headers["X-Request-Id"] in caplog.text and "secret" in caplog.text
    assert client.get("/readyz").status_code == 200


def test_request_ids_come_back_unless_they_are_odd(client: FlaskClient) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
    odd = client.get("/healthz", headers={"X-Request-Id": "a b" * 50}).headers["X-Request-Id"]
    assert odd and " " not in odd


def test_pages_of_other_sites_are_kept_out(client: FlaskClient, photo: bytes) -> None:
    assert client.get("/v1/models", headers={"Host": "rebound.example"}).get_json()["error"]["code"] == "untrusted_host"
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        assert client.post("/v1/plans", json={"prompt": "warmer"}, headers={"Origin": origin}).status_code == 403
    same = client.post("/v1/plans", json={"prompt": "warmer"}, headers={"Origin": "http://localhost"})
    assert same.status_code == 200


def test_an_extension_that_was_named_is_let_in(darkroom: Darkroom) -> None:
    origin = "chrome-extension://abcdefghijklmnop"
    client = create_app(darkroom, {"allowed_origins": (origin,)}).test_client()
    asked = {"json": {"prompt": "warmer"}}
    assert client.post("/v1/plans", **asked, headers={"Origin": origin}).status_code == 200
    refused = client.post("/v1/plans", **asked, headers={"Origin": f"{origin}q"})
    assert refused.status_code == 403 and "--allow-origin" in refused.get_json()["detail"]
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    before = client.options("/edit", headers=asks)
    assert before.status_code == 204 and before.headers["Access-Control-Allow-Origin"] == origin
    assert "Authorization" in before.headers["Access-Control-Allow-Headers"] and before.headers["Vary"] == "Origin"
    answered = client.post("/v1/plans", **asked, headers={"Origin": origin})
    assert answered.headers["Access-Control-Allow-Origin"] == origin
    assert "Access-Control-Allow-Credentials" not in answered.headers
    stranger = client.options("/edit", headers=asks | {"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in stranger.headers and stranger.headers["Vary"] == "Origin"
    for wrong in ("*", "example.com", "https://example.com/page"):
        with pytest.raises(OptionError, match="not an origin"):
            create_app(darkroom, {"allowed_origins": (wrong,)})


def test_the_page_and_its_headers(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.mimetype == "text/html" and b'id="instruction"' in page.data
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff" and page.headers["Cache-Control"] == "no-cache"
    assert client.get("/", headers={"If-None-Match": page.headers["ETag"]}).status_code == 304
    script = client.get("/page/app.js")
    assert script.mimetype == "text/javascript"
    assert client.head("/").headers["Content-Length"] == page.headers["Content-Length"]


def test_metrics(client: FlaskClient, photo: bytes) -> None:
    edit(client, photo)
    client.get("/made/up/by/a/client")
    client.open("/edit", method="BREW")
    edit(client, b"not an image")
    text = client.get("/metrics").text
    assert 'imgedit_http_requests_total{code="200",method="POST",route="/edit"} 1.0' in text
    assert 'route="unmatched"' in text and "made/up" not in text and "BREW" not in text
    assert 'imgedit_edit_duration_seconds_count{model="nano-banana",site="local",stage="render"} 1.0' in text
    assert 'imgedit_image_rejected_total{rule="unsupported_image"} 1.0' in text
    assert 'imgedit_model_loaded{model="nano-banana",version="test"} 1.0' in text
    assert 'imgedit_queue_depth{queue="edit"} 0.0' in text and "imgedit_build_info" in text


def test_a_full_lane_refuses_at_once_while_health_answers(app: Flask, darkroom: Darkroom, photo: bytes) -> None:
    darkroom.gate.clear()
    with ThreadPoolExecutor(4) as pool:
        first = [pool.submit(edit, app.test_client(), photo) for _ in range(3)]
        lane = app.extensions["nanoedge"].lane
        until(lambda: lane.waiting == 2 and lane.running == 1)
        began = time.monotonic()
        refused = edit(app.test_client(), photo)
        assert app.test_client().get("/healthz").status_code == 200
        ready = app.test_client().get("/readyz")
        assert time.monotonic() - began < 2
        darkroom.gate.set()
        assert [job.result().status_code for job in first] == [200, 200, 200]
    assert refused.status_code == 503 and refused.get_json()["error"]["code"] == "busy"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert ready.status_code == 503 and ready.get_json()["reasons"] == ["too many edits are waiting already"]
    assert app.test_client().get("/readyz").status_code == 200
    assert 'imgedit_queue_rejected_total{reason="busy"} 1.0' in app.test_client().get("/metrics").text


def until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_turns_go_in_order_and_the_gone_leave_at_once() -> None:
    lane, order = Lane(max_waiting=8, max_wait_seconds=10), []

    def take(name: str, gone: bool) -> None:
        try:
            with lane.place(), lane.turn(lambda: gone):
                order.append(name)
        except AbandonedError:
            order.append(f"{name} left")

    with lane.place(), lane.turn(lambda: False):
        threads = []
        for name, gone in (("a", False), ("b", True), ("c", False)):
            threads.append(threading.Thread(target=take, args=(name, gone)))
            threads[-1].start()
            until(lambda: lane.waiting + len(order) == len(threads))
            if gone:
                until(lambda: order == ["b left"])
    for thread in threads:
        thread.join()
    assert order == ["b left", "a", "c"]
    assert lane.waiting == lane.running == 0


def test_waiting_ends_and_draining_refuses() -> None:
    lane = Lane(max_waiting=1, max_wait_seconds=0.3)
    with lane.place(), lane.turn(lambda: False):
        with pytest.raises(BusyError, match="too long"), lane.place(), lane.turn(lambda: False):
            pass
        lane.drain()
        with pytest.raises(BusyError, match="shutting down"), lane.place():
            pass
    assert lane.obstacle == "the server is shutting down"
