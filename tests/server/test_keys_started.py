"""Keys on really started servers: made and ended while one runs, checked before a body comes, and in public."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import openai
import pytest
import urllib3
from click.testing import CliRunner, Result
from PIL import Image

from edge_runtime.errors import OptionError
from server.keys_cli import keys
from tests.server.started import ROOT, Started, command, started_server

HTTP = urllib3.PoolManager(maxsize=4, retries=False, timeout=30)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(keys, arguments)


def create(state: Path, *options: str) -> str:
    made = run("create", "test", "--state", str(state), *options)
    assert made.exit_code == 0, made.output
    return made.stdout.strip()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "state"


@pytest.fixture(scope="module")
def guarded(state: Path) -> Iterator[Started]:
    """A server whose first key is made while it runs."""
    with started_server("--state", str(state)) as server:
        assert HTTP.request("GET", f"{server.url}/v1/models").status == 200
        create(state)
        assert HTTP.request("GET", f"{server.url}/v1/models").status == 401
        yield server


def test_keys_come_and_go_while_the_server_runs(guarded: Started, state: Path) -> None:
    def status(key: str) -> int:
        return HTTP.request("GET", f"{guarded.url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status

    old = create(state)
    key_id = old.split("_")[1]
    assert status(old) == 200
    rotated = run("rotate", key_id, "--overlap", "0s", "--state", str(state))
    new = rotated.stdout.strip()
    assert (status(old), status(new)) == (401, 200)
    overlapping = run("rotate", key_id, "--state", str(state)).stdout.strip()
    assert (status(new), status(overlapping)) == (200, 200)
    assert run("revoke", key_id, "--state", str(state)).exit_code == 0
    assert (status(new), status(overlapping)) == (401, 401)


def test_the_list_shows_rules_and_no_secrets(state: Path) -> None:
    text = create(state, "--egress", "central,bfl", "--usd-per-month", "20", "--rate", "60/min", "--expires", "90d")
    listed = run("list", "--state", str(state), "--json").stdout
    entry = next(one for one in json.loads(listed) if one["id"] == text.split("_")[1])
    assert text not in listed and text.split("_")[2] not in listed
    assert entry["state"] == "active" and entry["providers"] == ["bfl", "central"] and entry["rate"] == "60/min"
    assert entry["usd_per_month"] == 20 and entry["usd_this_month"] == 0 and entry["expires"] > entry["created"]
    plain = run("list", "--state", str(state)).stdout
    assert f"{entry['id']}  active  test  edit,read  bfl,central  $20/month  60/min" in plain
    wrong = run("create", "x", "--rate", "often", "--state", str(state))
    assert isinstance(wrong.exception, OptionError) and "60/min" in str(wrong.exception)


def test_the_openai_client_with_a_key(guarded: Started, state: Path, photo: bytes) -> None:
    key = create(state, "--rate", "2/s")
    with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=key, max_retries=0) as client:
        for _ in range(2):
            result = client.images.edit(image=("p.jpg", photo), prompt="warmer", size="256x256")
            assert result.data and result.data[0].b64_json
            with Image.open(BytesIO(base64.b64decode(result.data[0].b64_json))) as picture:
                assert max(picture.size) == 256
    with (
        openai.OpenAI(base_url=f"{guarded.url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.images.edit(image=("p.jpg", photo), prompt="warmer")
    assert refused.value.code == "bad_key"
    slow = create(state, "--rate", "1/min")
    with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=slow, max_retries=0) as client:
        client.images.edit(image=("p.jpg", photo), prompt="warmer", size="64x64")
        with pytest.raises(openai.RateLimitError) as often:
            client.images.edit(image=("p.jpg", photo), prompt="warmer", size="64x64")
    assert often.value.code == "rate_exceeded" and int(often.value.response.headers["retry-after"]) > 50


def test_the_openai_client_waits_as_it_is_told(guarded: Started, state: Path, photo: bytes) -> None:
    key = create(state, "--rate", "1/s")
    with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=key, max_retries=2) as client:
        began = time.monotonic()
        for _ in range(3):
            assert client.images.edit(image=("p.jpg", photo), prompt="warmer", size="64x64").data
    assert time.monotonic() - began > 1.5


def head(server: Started, length: int, *lines: str) -> bytes:
    fields = (
        "POST /edit HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Content-Type: multipart/form-data; boundary=x",
        f"Content-Length: {length}", *lines,
    )
    return ("\r\n".join(fields) + "\r\n\r\n").encode()


def answered(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data


@pytest.mark.parametrize(
    ("length", "status"), [(1000, b"401"), (33 * 1024**2, b"401"), (10**12, b"401")]
)
def test_a_stranger_is_refused_before_the_body(guarded: Started, length: int, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port), 5) as connection:
        connection.sendall(head(guarded, length))
        answer = answered(connection)
    assert answer.startswith(b"HTTP/1.1 " + status) and b"key_missing" in answer and b"Connection: close" in answer


@pytest.mark.parametrize("length", [32 * 1024**2 + 1, 10**12])
def test_a_long_body_is_refused_before_it_comes(guarded: Started, state: Path, length: int) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port), 5) as connection:
        connection.sendall(head(guarded, length, f"X-Key: {create(state)}", "Expect: 100-continue"))
        answer = answered(connection)
    assert answer.startswith(b"HTTP/1.1 413") and b"32 MiB" in answer


def test_an_empty_bucket_is_said_before_the_body(guarded: Started, state: Path) -> None:
    key = create(state, "--rate", "1/h")
    spent = HTTP.request("POST", f"{guarded.url}/v1/plans", json={"prompt": "warmer"}, headers={"X-Key": key})
    assert spent.status == 200
    with socket.create_connection(("127.0.0.1", guarded.port), 5) as connection:
        connection.sendall(head(guarded, 1000, f"X-Key: {key}"))
        answer = answered(connection)
    assert answer.startswith(b"HTTP/1.1 429") and b"Retry-After: 3600" in answer, answer
    assert b'ratelimit: "key";r=0;t=3600' in answer.lower(), answer


def test_a_client_that_sends_everything_first_sees_the_answer_too(guarded: Started, photo: bytes) -> None:
    """What it sends is thrown away for a while: a connection that is reset would hide the answer."""
    for size in (100_000, 5_000_000, 40_000_000):
        answer = HTTP.request("POST", f"{guarded.url}/edit", fields={"image": ("p.jpg", photo + bytes(size))})
        assert answer.status == 401 and answer.json()["error"]["code"] == "key_missing"


def test_a_body_behind_a_refusal_is_no_request(guarded: Started) -> None:
    """A request in the body of a refused one must not be answered."""
    inner = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{guarded.port}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", guarded.port), 5) as connection:
        connection.sendall(head(guarded, len(inner)) + inner)
        answer = answered(connection)
    assert answer.count(b"HTTP/1.1 ") == 1 and answer.startswith(b"HTTP/1.1 401")


def refused(*arguments: str) -> str:
    ended = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
    return ended.stderr


def test_a_public_address_needs_keys_and_tls(state: Path, tmp_path: Path) -> None:
    public = ("--host", "0.0.0.0", "--port", "0")
    create(state)
    assert "no API keys and no TLS" in refused(*public, "--state", str(tmp_path))
    assert "without TLS" in refused(*public, "--state", str(state))
    assert "--behind-proxy" in refused(*public, "--state", str(tmp_path)), "which makes a first key"


def test_behind_a_proxy_the_node_answers_to_any_name(state: Path) -> None:
    key = create(state)
    with started_server("--behind-proxy", "--state", str(state)) as server:
        headers = {"Host": "photos.example", "X-Key": key}
        assert HTTP.request("GET", f"{server.url}/v1/models", headers=headers).status == 200
        assert HTTP.request("GET", f"{server.url}/v1/models", headers={"Host": "photos.example"}).status == 401


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_two_nodes_that_name_each_other_end_at_once(tmp_path: Path, photo: bytes) -> None:
    """Each knows the other as its central, and both let edits leave: one pass, then a refusal, long before a minute."""
    ports = free_port(), free_port()
    with ExitStack() as stack:
        for own, other in (ports, ports[::-1]):
            file = tmp_path / f"{own}.json"
            entry = {
                "name": "central", "kind": "openai-compatible", "base_url": f"http://127.0.0.1:{other}/v1",
                "model": "auto",
            }
            file.write_text(json.dumps({"fallback": "allow", "providers": [entry]}))
            stack.enter_context(started_server("--port", str(own), "--providers", str(file)))
        began = time.monotonic()
        answer = HTTP.request(
            "POST", f"http://127.0.0.1:{ports[0]}/edit",
            fields={"image": ("p.jpg", photo), "instructions": "replace the cup with a cat", "deadline_ms": "60000"},
        )
        assert answer.status == 502 and time.monotonic() - began < 20, answer.data
        assert "egress_forbidden" in answer.json()["detail"]
        breaker = HTTP.request("GET", f"http://127.0.0.1:{ports[0]}/metrics").data.decode()
        assert 'imgedit_breaker_state{provider="central",state="closed"} 1.0' in breaker, "no word about the key"
        counts = [HTTP.request("GET", f"http://127.0.0.1:{port}/metrics").data.decode() for port in ports]
    assert 'code="403",method="POST",route="/v1/images/edits"} 1.0' in counts[1]
    assert 'route="/v1/images/edits"' not in counts[0]
