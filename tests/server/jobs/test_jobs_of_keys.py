"""Jobs that an API key asked for: under its rule, its spend cap, and nobody else's."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from edge_runtime.service import EditService, open_service
from server.access import Access
from server.app import create_app
from server.keys import Rule
from tests.providers.origin import Asked, Origin, Reply, started
from tests.providers.protocols import KEY, MODERATED, PROTOCOLS
from tests.server.jobs.conftest import ended

JOBS = "/v1/edits/jobs"
WISH = "replace the cup with a sleeping cat"
PRICE = 0.04
PATIENCE = 2
"""Seconds for which the provider is waited for before the job is put back."""


@dataclass
class Upstream:
    """A provider that polls, and keeps the picture back until it may end."""

    may_end: threading.Event = field(default_factory=threading.Event)
    polled: threading.Event = field(default_factory=threading.Event)

    def answer(self, server: Origin, asked: Asked) -> Reply:
        if asked.method == "GET" and "get_result" in asked.path:
            self.polled.set()
            if not self.may_end.is_set():
                return Reply(body={"status": "Pending"})
        return PROTOCOLS["bfl"].answer(server, asked)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A node with keys, jobs and one provider."""

    client: FlaskClient
    origin: Origin
    upstream: Upstream

    @property
    def access(self) -> Access:
        access: Access = self.client.application.extensions["nanoedge"].access
        return access

    def key(self, **rule: Any) -> str:
        return self.access.keys.create("test", Rule(**rule))[1]

    def asks(self, key: str, photo: bytes, **fields: str) -> TestResponse:
        data = {"image": (BytesIO(photo), "p.jpg"), "instructions": WISH, "size": "64", "fallback": "allow", **fields}
        return self.client.post(JOBS, data=data, headers={"X-Api-Key": key})

    def ended(self, key: str, answer: TestResponse) -> dict[str, Any]:
        assert answer.status_code == 202, answer.text
        self.client.environ_base["HTTP_X_API_KEY"] = key
        try:
            return ended(self.client, answer.get_json()["polling_url"])
        finally:
            del self.client.environ_base["HTTP_X_API_KEY"]

    def ending(self, key: str, answer: TestResponse) -> Mapping[str, Any]:
        """What is kept of the end of a job whose key can't ask for it any more."""
        jobs = self.client.application.extensions["nanoedge.jobs"]
        end = time.monotonic() + 20
        while (found := jobs.job(answer.get_json()["id"], key.split("_")[1]))[0].ended is None:
            assert time.monotonic() < end
            time.sleep(0.03)
        told: Mapping[str, Any] = found[1]
        return told

    def spent(self, key: str) -> float:
        return self.access.spending.spent(key.split("_")[1])[0]


Opened = Callable[..., Desk]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Opens nodes on one state folder, whose provider lets edits end at once unless a test says otherwise."""
    monkeypatch.setenv("CENTRAL_KEY", KEY)
    upstream = Upstream()
    upstream.may_end.set()
    with ExitStack() as stack:
        origin = stack.enter_context(started(upstream.answer))
        entry = {"name": "central", "kind": "bfl", "base_url": f"{origin.url}/v1", "model": "flux-kontext-pro",
                 "key_env": "CENTRAL_KEY", "price_usd": PRICE, "timeout_seconds": PATIENCE}  # fmt: skip
        file = tmp_path / "providers.json"
        file.write_text(json.dumps({"fallback": "allow", "providers": [entry]}))

        def opening(**config: Any) -> Desk:
            service: EditService = open_service(providers=file)
            stack.callback(service.close)
            app = create_app(service, {"state": tmp_path / "state", "providers": file, **config})
            desk = Desk(client=app.test_client(), origin=origin, upstream=upstream)
            stack.callback(desk.access.close)
            stack.callback(app.extensions["nanoedge.jobs"].stop, 20)
            return desk

        yield opening


@pytest.fixture
def desk(opened: Opened) -> Desk:
    return opened()


def test_a_job_keeps_its_photo_here_where_the_key_says_so(desk: Desk, photo: bytes) -> None:
    key = desk.key()
    refused = desk.asks(key, photo)
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (403, "egress_forbidden")
    told = desk.ended(key, desk.asks(key, photo, instructions="warmer"))
    assert told["status"] == "Ready" and told["result"]["route"]["site"] == "local" and not desk.origin.asked
    assert any("API key" in other["why"] for other in told["result"]["route"]["not_chosen"])


def test_a_job_of_a_key_that_was_revoked_meanwhile_is_not_done(opened: Opened, photo: bytes) -> None:
    desk = opened(max_waiting=0)
    lane = desk.client.application.extensions["nanoedge"].lane
    key = desk.key()
    with lane.place():  # the only one: the job has to wait for it
        answer = desk.asks(key, photo, instructions="warmer")
        assert answer.status_code == 202
        desk.access.keys.revoke(key.split("_")[1])
    told = desk.ending(key, answer)
    assert told["status"] == 401 and told["code"] == "bad_key", told
    assert "doesn't hold any more" in told["message"] and "revoked" in told["message"]
    assert desk.client.get(answer.get_json()["polling_url"], headers={"X-Key": key}).status_code == 401


@pytest.mark.slow
@pytest.mark.parametrize("cap", [None, 1.0])
def test_a_job_that_is_waited_for_again_is_counted_once(desk: Desk, photo: bytes, cap: float | None) -> None:
    """Its provider took longer than it is waited for at once, so that the job was put back and taken up again."""
    key = desk.key(providers=None, usd_per_day=cap)
    desk.upstream.may_end.clear()
    answer = desk.asks(key, photo)
    assert desk.upstream.polled.wait(20)
    url, end = answer.get_json()["polling_url"], time.monotonic() + 30
    while desk.client.get(url, headers={"X-Key": key}).get_json()["status"] != "Pending":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert desk.spent(key) == pytest.approx(PRICE if cap else 0), "it may still come"
    desk.upstream.may_end.set()
    told = desk.ended(key, answer)
    assert told["status"] == "Ready" and told["result"]["cost_usd"] == PRICE, told
    assert len(desk.origin.submissions) == 1 and desk.spent(key) == pytest.approx(PRICE)


def test_a_refused_job_costs_nothing(desk: Desk, photo: bytes) -> None:
    key = desk.key(providers=None, usd_per_day=1.0)
    told = desk.ended(key, desk.asks(key, photo, instructions=MODERATED, fallback="only"))
    assert told["status"] == "Error" and told["error"]["status"] == 422, told
    assert desk.spent(key) == 0


def test_a_cap_is_held_while_a_provider_works_and_ends_the_next_job(desk: Desk, photo: bytes) -> None:
    key = desk.key(providers=None, usd_per_day=1.5 * PRICE)
    desk.upstream.may_end.clear()
    first = desk.asks(key, photo)
    assert desk.upstream.polled.wait(20) and desk.spent(key) == pytest.approx(PRICE)
    refused = desk.asks(key, photo, size="65")
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (429, "spend_cap_reached")
    desk.upstream.may_end.set()
    assert desk.ended(key, first)["status"] == "Ready" and desk.spent(key) == pytest.approx(PRICE)
    assert len(desk.origin.submissions) == 1


@pytest.mark.parametrize("cap", [None, 1.0])
def test_another_process_goes_on_and_counts_it_once(opened: Opened, photo: bytes, cap: float | None) -> None:
    first = opened()
    key = first.key(providers=None, usd_per_day=cap)
    first.upstream.may_end.clear()
    answer = first.asks(key, photo)
    assert first.upstream.polled.wait(20)
    first.client.application.extensions["nanoedge.jobs"].stop(0)
    first.upstream.may_end.set()
    second = opened()
    assert second.ended(key, answer)["status"] == "Ready" and len(second.origin.submissions) == 1
    assert second.spent(key) == pytest.approx(PRICE)


def test_a_job_is_its_keys_alone_and_needs_the_scope(desk: Desk, photo: bytes) -> None:
    key, other = desk.key(), desk.key()
    answer = desk.asks(key, photo, instructions="warmer")
    url = answer.get_json()["polling_url"]
    assert desk.ended(key, answer)["status"] == "Ready"

    def statuses(**headers: str) -> list[int]:
        asked = (desk.client.get(url, headers=headers), desk.client.get(f"{url}/result", headers=headers),
                 desk.client.post(f"{url}/cancel", headers=headers))  # fmt: skip
        return [one.status_code for one in asked]

    assert statuses(**{"X-Key": other}) == [404] * 3
    assert statuses() == [401] * 3
    assert statuses(**{"X-Key": key}) == [200, 200, 409]


def test_a_link_needs_no_key_but_its_signature(desk: Desk, photo: bytes) -> None:
    key = desk.key()
    told = desk.ended(key, desk.asks(key, photo, instructions="warmer", store="true"))
    link = told["result"]["url"]
    assert told["result"]["address"].removeprefix("sha256:") in link
    assert desk.client.get(link).mimetype == "image/jpeg"
    for changed in (link[:-1] + ("0" if link[-1] != "0" else "1"), link.replace("expires=", "expires=1"),
                    urlsplit(link).path):  # fmt: skip
        assert desk.client.get(changed).status_code == 404
        assert desk.client.get(changed, headers={"X-Key": key}).status_code == 404, "a key is no signature"
