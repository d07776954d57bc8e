"""OpenAI's client from npm, unchanged, against a running server: openai_client.mjs does it and says what it saw."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobile_export.npm_package import NpmPackage
from server.key_store import KeyStore
from server.keys import Rate, Rule
from tests.providers.origin import Asked, Origin, Reply, started
from tests.providers.protocols import KEY, PROTOCOLS
from tests.server.started import started_server

OPENAI = NpmPackage(
    name="openai", version="6.30.1",
    integrity="sha512-5bkK9GoQMd8j4a0TeY95AIC7FtGP38HlfO+YvRq4TkEndHLI1iR8ct9wajmsAMw+G/QcPOZnqzhhsUT2GKUWkA==",
)
SLOW = b"slow"
"""In a wish: the provider takes some seconds."""
SECONDS = 4.0
SCRIPT = Path(__file__).with_name("openai_client.mjs")
JPEG, PNG = "ffd8ffe0", "89504e47"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="node and npm are not installed"),
]


def answer(server: Origin, asked: Asked) -> Reply:
    """What the provider answers, late where the wish says so."""
    reply = PROTOCOLS["openai"].answer(server, asked)
    return replace(reply, seconds=SECONDS) if SLOW in asked.body else reply


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes) -> dict[str, Any]:
    """What the client saw of a node with keys and a provider."""
    monkeypatch.setenv("CENTRAL_KEY", KEY)
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "photo.jpg").write_bytes(photo)
    store = KeyStore(tmp_path / "state")
    _, key = store.create("free", Rule(providers=None))
    _, slow_key = store.create("slow", Rule(rate=Rate(count=1, seconds=1)))
    store.close()
    with started(answer) as origin, OPENAI.opened() as package:
        shutil.copytree(package, tmp_path / "node_modules" / "openai")
        entry = {"name": "central", "kind": "openai-compatible", "base_url": f"{origin.url}/v1", "model": "painter",
                 "key_env": "CENTRAL_KEY"}  # fmt: skip
        (tmp_path / "providers.json").write_text(json.dumps({"providers": [entry]}))
        options = ("--state", str(tmp_path / "state"), "--providers", str(tmp_path / "providers.json"))
        with started_server(*options) as server:
            ended = subprocess.run(
                ["node", SCRIPT.name, f"{server.url}/v1", key, slow_key, "photo.jpg"],
                cwd=tmp_path, capture_output=True, text=True, timeout=120,
            )
    assert ended.returncode == 0, ended.stderr
    assert len([one for one in origin.submissions if SLOW in one.body]) == 1
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_edits_events_errors_and_retries(seen: dict[str, Any]) -> None:
    assert seen["edit"] == {"signature": JPEG, "size": "128x85", "adjust": "warmth"}
    assert seen["listed"] == {"signature": PNG, "tokens": True}
    assert [event["type"] for event in seen["events"]] == ["image_edit.partial_image", "image_edit.completed"]
    assert seen["events"][0]["signature"] == JPEG
    assert seen["models"] == ["nano-banana", "central"] and seen["model"] == "nanoedge"
    failures = {
        name: (one["kind"], one["status"], one["code"], one["param"]) for name, one in seen["failures"].items()
    }
    assert failures == {
        "model": ("NotFoundError", 404, "model_not_found", "model"),
        "n": ("BadRequestError", 400, "bad_option", "n"),
        "image": ("APIError", 415, "unsupported_image", "image"),
        "key": ("AuthenticationError", 401, "bad_key", None),
        "egress": ("PermissionDeniedError", 403, "egress_forbidden", None),
        "rate": ("RateLimitError", 429, "rate_exceeded", None),
    }
    assert all(one["id"] for one in seen["failures"].values()), "each names its request"
    assert 1.5 < seen["seconds"] < 30
    statuses = seen["once"]["statuses"]
    assert 409 in statuses and sorted(statuses)[:2] == [200, 200] and set(statuses) == {200, 409}
    assert seen["once"]["answers"] == 1 and sorted(map(str, seen["once"]["replayed"])) == ["None", "true"]
