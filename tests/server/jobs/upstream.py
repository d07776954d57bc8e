"""A provider beside a server under test: it takes edits, and lets them wait as long as the test says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.providers.origin import Asked, Origin, Reply, started
from tests.providers.protocols import KEY, PROTOCOLS
from tests.server.jobs.killing import Node

WISH = "replace the cup with a sleeping cat"


class Upstream:
    """A provider whose jobs are Pending, and whose pictures are late, as long as the test says."""

    def __init__(self, kind: str = "bfl") -> None:
        self.submit_seconds = self.delivery_seconds = 0.0
        self.pending = True
        self._kind = kind

    def answer(self, server: Origin, asked: Asked) -> Reply:
        reply = PROTOCOLS[self._kind].answer(server, asked)
        if asked.method == "POST":
            return Reply(reply.status, reply.body, seconds=self.submit_seconds)
        if asked.path.startswith(("/delivery/", "/files/")):
            return Reply(reply.status, reply.body, reply.headers, seconds=self.delivery_seconds)
        if self.pending:
            return Reply(body={"status": {"bfl": "Pending", "replicate": "processing"}[self._kind]})
        return reply


def beside(stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Reply],
           **provider: Any) -> tuple[Node, Origin]:  # fmt: skip
    monkeypatch.setenv("CENTRAL_KEY", KEY)
    origin = stack.enter_context(started(answer))
    entry = {
        "name": "central", "kind": "bfl", "base_url": f"{origin.url}/v1", "model": "flux-kontext-pro",
        "key_env": "CENTRAL_KEY", "price_usd": 0.04, **provider,
    }
    (tmp_path / "providers.json").write_text(json.dumps({"providers": [entry]}))
    return Node(tmp_path / "state", ("--providers", str(tmp_path / "providers.json"))), origin


def was_asked(origin: Origin, path: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not any(path in one.path for one in origin.asked):
        assert time.monotonic() < end
        time.sleep(0.002)
