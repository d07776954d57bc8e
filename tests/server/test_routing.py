"""An edge and a central as two processes, and an edge beside a provider that misbehaves."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import urllib3
from click.testing import CliRunner
from PIL import Image

from edge_runtime.cli_edit import edit as edit_command
from edge_runtime.cli_route import route
from edge_runtime.errors import RouteError
from tests.providers.origin import HANG, STORM, Origin, Reply, started
from tests.providers.protocols import KEY, MODERATED, PROTOCOLS
from tests.server.started import ROOT, Started, started_server
from tests.server.started import command as command_line

HTTP = urllib3.PoolManager(maxsize=4, retries=False, timeout=30)
EMBEDDED = Path(__file__).parents[2] / "edge_runtime" / "embedded" / "nano-banana"
WISH = "replace the cup with a sleeping cat"
"""Beyond nano-banana: it scores it above the limit."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def edge(stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **provider: Any) -> Started:
    """Start a node with one provider called central."""
    monkeypatch.setenv("CENTRAL_KEY", KEY)
    entry = {"name": "central", "kind": "openai-compatible", "family": "qwen-image-edit", "key_env": "CENTRAL_KEY"}
    file = tmp_path / "providers.json"
    file.write_text(json.dumps({"providers": [{**entry, "price_usd": 0.02, **provider}]}))
    return stack.enter_context(started_server("--providers", str(file)))


def beside(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **provider: Any
) -> tuple[Started, Origin]:
    """Start a node beside a provider's server that paints by inverting."""
    origin = stack.enter_context(started(PROTOCOLS["openai"].answer))
    place = {"base_url": f"{origin.url}/v1", "model": "painter-9"}
    return edge(stack, tmp_path, monkeypatch, **place, **provider), origin


def edit(server: Started, photo: bytes, path: str = "/edit", **fields: str) -> urllib3.BaseHTTPResponse:
    return HTTP.request("POST", server.url + path, fields={"image": ("p.jpg", photo), "instructions": WISH, **fields})


def test_edge_and_central(stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes) -> None:
    """The central is another node, whose model has another name than the one that the edge is asked for."""
    shutil.copytree(EMBEDDED, tmp_path / "large-painter")
    central = stack.enter_context(started_server("--model", str(tmp_path / "large-painter")))
    node = edge(stack, tmp_path, monkeypatch, base_url=f"{central.url}/v1", model="large-painter")
    fields = {"instructions": "black and white", "model": "qwen-image-edit", "fallback": "allow", "size": "300"}
    done = edit(node, photo, output_format="png", **fields).json()
    with Image.open(BytesIO(base64.b64decode(done["image_base64"]))) as picture:
        assert picture.size == (300, 200) and np.ptp(np.asarray(picture.convert("RGB"), int), axis=-1).max() <= 2
    route = done["route"]
    assert (route["site"], route["name"], route["model"]) == ("central", "central", "large-painter")
    assert route["why"] == "qwen-image-edit was asked for by name"
    assert route["not_chosen"][0] | {"version": ""} == {
        "site": "local", "name": "nano-banana", "model": "nano-banana", "version": "",
        "why": "qwen-image-edit was asked for by name",
    }
    known = HTTP.request("GET", f"{central.url}/v1/models/large-painter").json()
    assert done["version"] == known["x_version"], "the version that the central says it is"
    counted = HTTP.request("GET", f"{central.url}/metrics").data.decode()
    assert 'imgedit_http_requests_total{code="200",method="POST",route="/v1/images/edits"} 1.0' in counted
    seeded = edit(node, photo, model="qwen-image-edit", fallback="allow", seed="1", instructions="warmer")
    assert seeded.json()["warnings"] == ["unknown field ignored: seed"], "the central's own words come through"


def test_a_wish_goes_where_it_can_be_done(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    node, origin = beside(stack, tmp_path, monkeypatch)
    here = edit(node, photo, instructions="warmer", fallback="allow").json()
    assert here["route"]["site"] == "local" and here["model"] == "nano-banana" and not origin.asked
    assert here["route"]["not_chosen"][0]["why"] == "nano-banana suits a wish of the kind 'edge' better"
    decision = edit(node, photo, "/v1/route", fallback="allow").json()
    assert decision["site"] == "central" and decision["cost_usd"] == 0.02 and not origin.asked, "only decided"
    there = edit(node, photo, fallback="allow").json()
    assert there["route"]["site"] == "central" and there["model"] == "painter-9" and len(origin.submissions) == 1
    assert "goes beyond it" in there["route"]["not_chosen"][0]["why"]
    with Image.open(BytesIO(base64.b64decode(there["image_base64"]))) as picture:
        assert picture.size == (600, 400)
    metrics = HTTP.request("GET", f"{node.url}/metrics").data.decode()
    assert 'imgedit_fallback_total{reason="unsupported"} 1.0' in metrics
    assert 'imgedit_cost_usd_total{provider="central"} 0.02' in metrics
    sent = next(line for line in metrics.splitlines() if line.startswith("imgedit_egress_bytes_total{"))
    assert float(sent.split()[-1]) == len(origin.submissions[0].body)


def test_nothing_leaves_unless_that_is_asked_for(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    node, origin = beside(stack, tmp_path, monkeypatch, seconds=6)
    for fields in ({}, {"fallback": "never"}, {"model": "nano-banana", "fallback": "allow"}):
        assert edit(node, photo, **fields).json()["route"]["site"] == "local"
    for fields in ({"model": "auto"}, {"model": "auto", "fallback": "never"}, {"model": "central"}):
        refused = edit(node, photo, **fields)
        assert refused.status == 422 and refused.json()["error"]["code"] == "no_route"
        assert "fallback=allow" in refused.json()["detail"]
    hasty = edit(node, photo, fallback="allow", deadline_ms="1000")
    assert hasty.status == 504 and hasty.json()["error"]["code"] == "deadline_too_short"
    assert edit(node, photo, fallback="allow", max_cost_usd="0.01").status == 422
    assert not origin.asked


def test_when_a_provider_fails_the_route_says_so(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    node, origin = beside(stack, tmp_path, monkeypatch)
    origin.script.append(Reply(504))
    failed = edit(node, photo, fallback="allow")
    assert failed.status == 502 and failed.json()["error"]["code"] == "provider_failed", "there is nobody else"
    origin.script.append(HANG)
    late = edit(node, photo, fallback="allow", deadline_ms="700")
    assert late.status == 504 and origin.left.wait(2)
    assert edit(node, photo, fallback="allow", instructions=MODERATED, model="central").status == 422
    busy = Reply(429, b"", {"Retry-After": "9"})
    origin.script.extend([busy])
    told = edit(node, photo, fallback="allow", deadline_ms="3000")
    assert told.status == 503 and told.headers["Retry-After"] == "9"


def test_another_provider_takes_over(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    bad, good = (stack.enter_context(started(PROTOCOLS["openai"].answer)) for _ in range(2))
    monkeypatch.setenv("CENTRAL_KEY", KEY)
    entries = [
        {"name": name, "kind": "openai-compatible", "base_url": f"{origin.url}/v1", "model": "qwen-image-edit",
         "key_env": "CENTRAL_KEY", "price_usd": price}
        for name, origin, price in (("cheap", bad, 0.01), ("dear", good, 0.05))
    ]  # fmt: skip
    file = tmp_path / "providers.json"
    file.write_text(json.dumps({"fallback": "allow", "providers": entries}))
    node = stack.enter_context(started_server("--providers", str(file)))
    bad.script.extend([STORM] * 99)
    done = edit(node, photo).json()
    assert done["route"]["name"] == "dear" and len(good.submissions) == 1
    why = {other["name"]: other["why"] for other in done["route"]["not_chosen"]}
    assert why["cheap"].startswith("it failed in this request: The provider cheap failed")


def test_a_client_that_leaves_is_not_paid_for(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    node, origin = beside(stack, tmp_path, monkeypatch)
    origin.script.append(HANG)
    with pytest.raises(urllib3.exceptions.HTTPError):
        HTTP.request(
            "POST", f"{node.url}/edit", timeout=1.0,
            fields={"image": ("p.jpg", photo), "instructions": WISH, "fallback": "allow"},
        )
    assert origin.left.wait(5), "the provider's connection was closed too"


def test_the_preview_comes_while_the_central_works(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    node, origin = beside(stack, tmp_path, monkeypatch)
    slow = PROTOCOLS["openai"].answer
    origin.protocol = lambda server, asked: replace(slow(server, asked), seconds=1.0)
    client = stack.enter_context(openai.OpenAI(base_url=f"{node.url}/v1", api_key="none", max_retries=0))
    began, seen = time.monotonic(), []
    extra = {"fallback": "allow"}
    with client.images.edit(
        image=("p.jpg", photo), prompt=f"black and white, {WISH}", stream=True, partial_images=1, extra_body=extra
    ) as events:
        for event in events:
            seen.append((time.monotonic() - began, event))
    (early, partial), (late, completed) = seen
    assert partial.type == "image_edit.partial_image" and completed.type == "image_edit.completed"
    assert early < 0.9 < 1.0 < late, "the early picture didn't wait"
    small = Image.open(BytesIO(base64.b64decode(partial.b64_json)))
    assert max(small.size) == 512 and partial.size == "512x341"
    final = Image.open(BytesIO(base64.b64decode(completed.b64_json)))
    assert final.size == (600, 400) and completed.usage.total_tokens > 0
    assert completed.model_extra["x_route"]["site"] == "central"
    assert "imgedit_preview_latency_seconds_count 1.0" in HTTP.request("GET", f"{node.url}/metrics").data.decode()


def test_a_stream_of_the_small_model_is_one_event_and_errors_are_events(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    node, origin = beside(stack, tmp_path, monkeypatch)
    client = stack.enter_context(openai.OpenAI(base_url=f"{node.url}/v1", api_key="none", max_retries=0))
    asked = {"image": ("p.jpg", photo), "stream": True, "partial_images": 1}
    with client.images.edit(prompt="warmer", **asked) as events:
        assert [event.type for event in events] == ["image_edit.completed"]
    with pytest.raises(openai.UnprocessableEntityError):
        client.images.edit(prompt=WISH, model="auto", **asked)
    origin.script.append(Reply(504))
    with (
        client.images.edit(prompt=WISH, extra_body={"fallback": "allow"}, **asked) as events,
        pytest.raises(openai.APIError, match="provider central failed"),
    ):
        for event in events:
            assert event.type == "image_edit.partial_image"
    assert 'imgedit_queue_depth{queue="edit"} 0.0' in HTTP.request("GET", f"{node.url}/metrics").data.decode()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes) -> Iterator[tuple[Origin, Path, Path]]:
    """A provider's server, a file that names it, and a photo, for the command without a server of ours."""
    monkeypatch.setenv("CENTRAL_KEY", KEY)
    (tmp_path / "p.jpg").write_bytes(photo)
    with started(PROTOCOLS["openai"].answer) as origin:
        entry = {"name": "central", "kind": "openai-compatible", "base_url": f"{origin.url}/v1", "model": "m"}
        file = tmp_path / "providers.json"
        file.write_text(json.dumps({"providers": [{**entry, "key_env": "CENTRAL_KEY"}]}))
        yield origin, file, tmp_path / "p.jpg"


def test_the_command_says_what_the_server_would(command: tuple[Origin, Path, Path]) -> None:
    origin, file, picture = command
    runner, common = CliRunner(), [str(picture), WISH, "--providers", str(file)]
    told = runner.invoke(route, [*common, "--fallback", "allow"])
    assert told.output.startswith("central: central (m), because it is the only one that can do this request\n")
    assert "not nano-banana: the wish goes beyond it" in told.output
    assert json.loads(runner.invoke(route, [*common, "--fallback", "allow", "--json"]).output)["site"] == "central"
    assert "fallback=allow" in str(runner.invoke(route, common).exception)
    assert not origin.asked


def test_the_command_edits_where_the_route_says(command: tuple[Origin, Path, Path]) -> None:
    origin, file, picture = command
    out = str(picture.with_name("out.png"))
    common = [str(picture), WISH, "-o", out, "--model", "auto", "--providers", str(file)]
    told = CliRunner().invoke(edit_command, [*common, "--fallback", "allow"])
    assert told.exit_code == 0 and "by central because it is the only one" in told.output
    with Image.open(out) as made:
        assert made.size == (600, 400)
    assert isinstance(CliRunner().invoke(edit_command, common).exception, RouteError) and len(origin.asked) == 1


def test_a_bad_providers_file_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    (tmp_path / "providers.json").write_text('{"providers": [{"name": "central", "kind": "bfl"}]}')
    arguments = command_line("--port", "0", "--providers", str(tmp_path / "providers.json"))
    ended = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert "provider central: members are missing. Got base_url, model" in ended.stderr
