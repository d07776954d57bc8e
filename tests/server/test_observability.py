"""What an operator sees: the log in JSON lines, traces, the metrics and the dashboard that draws them."""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import urllib3
from flask.testing import FlaskClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server.app import create_app
from server.key_store import KeyStore
from server.keys import Rule
from server.logs import JsonLines
from server.tracers.otlp import OtlpTracing
from tests.program import SOURCE_ALONE
from tests.server.darkroom import Darkroom
from tests.server.started import ROOT, started_server

HTTP = urllib3.PoolManager(maxsize=4, retries=False, timeout=30)
SECRET_WISH = "warmer, for my passport number 4711"
DASHBOARD = ROOT / "docs" / "grafana-dashboard.json"


def edit(url: str, photo: bytes, headers: dict[str, str] | None = None, **fields: str) -> urllib3.BaseHTTPResponse:
    form = {"image": ("secret-name.jpg", photo), "instructions": SECRET_WISH, **fields}
    return HTTP.request("POST", f"{url}/edit", fields=form, headers=headers)


def test_json_lines_name_requests_and_no_secrets(tmp_path: Path, photo: bytes) -> None:
    store = KeyStore(tmp_path / "state")
    key, text = store.create("test", Rule())
    store.close()
    with started_server("--log", "json", "--state", str(tmp_path / "state")) as server:
        headers = {"X-Key": text, "X-Request-Id": "mine-1"}
        assert edit(server.url, photo, headers).status == 200
        assert edit(server.url, photo[:999], headers).status == 400
        assert edit(server.url, photo, {"X-Key": text + "x"}).status == 401
        assert HTTP.request("GET", f"{server.url}/v1/models/{SECRET_WISH}?key={text}", headers=headers).status == 404
        server.process.terminate()
        server.process.wait(20)
        written = server.log.read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    requests = [line for line in lines if line["logger"] == "server.requests"]
    assert [(line["status"], line["code"]) for line in requests] == [
        (200, None), (400, "bad_image"), (401, "bad_key"), (404, "model_not_found"),
    ]  # fmt: skip
    assert requests[0] | {"time": 0, "seconds": 0} == {
        "time": 0, "level": "info", "logger": "server.requests", "message": "answered", "request_id": "mine-1",
        "method": "POST", "route": "/edit", "status": 200, "seconds": 0, "caller": key.id, "code": None,
    }
    assert requests[3]["route"] == "/v1/models/<path:name>"
    picture = base64.b64encode(photo).decode()
    for secret in ("4711", "passport", text, text.split("_")[2], "secret-name", picture[:40], picture[400:440]):
        assert secret not in written, secret


def test_an_unexpected_error_is_told_without_its_words() -> None:
    try:
        raise ValueError("my passport number 4711")
    except ValueError as error:
        record = logging.getLogger("server").makeRecord(
            "server", logging.ERROR, __file__, 1, "request %s failed", ("r1",), (ValueError, error, error.__traceback__)
        )
    line = json.loads(JsonLines().format(record))
    assert line["error"] == "ValueError" and line["message"] == "request r1 failed"
    assert any("test_observability.py" in frame for frame in line["stack"]) and "4711" not in json.dumps(line)


def test_keys_in_messages_are_blackened(capfd: pytest.CaptureFixture[str]) -> None:
    """In a process of its own, since the log belongs to the process."""
    import subprocess
    import sys

    code = (
        "import logging; from server import logs; logs.begin(logs.LogForm.TEXT); "
        "logging.getLogger('x').warning('got %s', 'ne_abcdefgh_' + 43 * 'q')"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.stderr == "WARNING x: got ne_abcdefgh_***\n"


# --- traces ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def traced(darkroom: Darkroom) -> Iterator[tuple[FlaskClient, InMemorySpanExporter]]:
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracing = OtlpTracing(provider)
    yield create_app(darkroom, tracing=tracing).test_client(), memory
    tracing.close()


def test_a_trace_has_the_stages_of_the_edit(
    traced: tuple[FlaskClient, InMemorySpanExporter], photo: bytes
) -> None:
    client, memory = traced
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    data = {"image": (BytesIO(photo), "p.jpg"), "instructions": SECRET_WISH}
    assert client.post("/edit", data=data, headers={"traceparent": parent, "X-Request-Id": "mine-2"}).status_code == 200
    *stages, whole = memory.get_finished_spans()
    assert [span.name for span in stages] == ["wait", "render"] and whole.name == "POST /edit"
    assert f"{whole.context.trace_id:032x}" in parent and f"{whole.parent.span_id:016x}" in parent
    assert all(span.parent.span_id == whole.context.span_id for span in stages)
    assert whole.start_time <= stages[-1].start_time < stages[-1].end_time <= whole.end_time
    assert dict(whole.attributes) == {
        "http.request.method": "POST", "http.route": "/edit", "http.response.status_code": 200,
        "nanoedge.request_id": "mine-2", "nanoedge.site": "local", "nanoedge.model": "nano-banana",
    }
    assert "4711" not in " ".join(span.to_json() for span in memory.get_finished_spans())


def test_refused_and_unknown_requests_are_traced_too(traced: tuple[FlaskClient, InMemorySpanExporter]) -> None:
    client, memory = traced
    client.get("/made/up/by/a/client")
    (span,) = memory.get_finished_spans()
    assert span.name == "GET unmatched" and span.attributes["http.response.status_code"] == 404


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A collector of OTLP over HTTP that keeps what it gets."""
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - the name that the library calls
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", got
        server.shutdown()


@SOURCE_ALONE
def test_a_started_server_sends_its_traces(photo: bytes) -> None:
    with collector() as (url, got):
        with started_server("--traces", url) as server:
            assert edit(server.url, photo, size="64").status == 200
        spans: list[Any] = []
        for body in got:
            message = ExportTraceServiceRequest.FromString(_plain(body))
            spans += [span for one in message.resource_spans for scope in one.scope_spans for span in scope.spans]
    names = {span.name for span in spans}
    assert {"POST /edit", "wait", "decode", "render", "encode"} <= names
    assert len({span.trace_id for span in spans if span.name in ("POST /edit", "render")}) == 1


def _plain(body: bytes) -> bytes:
    import gzip

    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


# --- metrics --------------------------------------------------------------------------------------------------------


def test_the_dashboard_draws_metrics_that_there_are(client: FlaskClient, photo: bytes) -> None:
    client.post("/edit", data={"image": (BytesIO(photo), "p.jpg"), "instructions": "warmer"})
    exposed = set(re.findall(r"^# TYPE (\S+) ", client.get("/metrics").text, re.MULTILINE))
    exposed |= {f"{name}_{part}" for name in exposed for part in ("bucket", "count", "sum")}
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    asked = {name for query in queries for name in re.findall(r"\b(?:imgedit|process)_\w+", query)}
    assert len(queries) >= 10 and asked <= exposed, asked - exposed
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"] if panel["type"] != "row"} == {"${source}"}
