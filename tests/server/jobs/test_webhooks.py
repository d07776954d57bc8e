"""Webhooks, to real servers on loopback: signed, told again until they are heard, never into the network unasked."""

from __future__ import annotations

import hmac
import time
from io import BytesIO
from ipaddress import ip_network

import pytest
from flask.testing import FlaskClient

from server.jobs import webhooks
from tests.providers.origin import Asked, Origin, Reply, started
from tests.server.jobs.conftest import Made, ended

SECRET = "correct-horse-battery-staple"
LOOPBACK = (ip_network("127.0.0.0/8"),)


def post(client: FlaskClient, photo: bytes, url: str) -> str:
    fields = {
        "image": (BytesIO(photo), "p.jpg"), "instructions": "warmer", "webhook_secret": SECRET, "webhook_url": url,
    }
    answer = client.post("/v1/edits/jobs", data=fields)
    assert answer.status_code == 202, answer.get_data()
    polling_url: str = answer.get_json()["polling_url"]
    return polling_url


def heard(origin: Origin, count: int, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while len(origin.asked) < count:
        assert time.monotonic() < end, f"{len(origin.asked)} of {count}"
        time.sleep(0.02)


def test_the_end_of_a_job_is_told_and_signed(made: Made, photo: bytes) -> None:
    with started(lambda server, asked: Reply()) as origin:
        url = post(made(webhook_networks=LOOPBACK), photo, f"{origin.url}/hook?a=b")
        heard(origin, 1)
    asked = origin.asked[0]
    assert (asked.method, asked.path) == ("POST", "/hook?a=b") and asked.json["status"] == "Ready"
    assert url.endswith(asked.json["id"]) and asked.json["result"]["width"] == 600
    stamp, _, mac = asked.headers["x-nanoedge-signature"].partition(",v1=")
    seconds = stamp.removeprefix("t=")
    assert abs(time.time() - int(seconds)) < 60
    assert mac == hmac.new(SECRET.encode(), f"{seconds}.".encode() + asked.body, "sha256").hexdigest()


def test_it_is_told_until_it_is_heard_and_then_no_more(
    made: Made, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(webhooks, "_IDLE_SECONDS", 0.05)
    answers = [Reply(500), Reply(302, headers={"Location": "/elsewhere"}), Reply(cut=True), Reply(204)]

    def answer(server: Origin, asked: Asked) -> Reply:
        return answers[min(len(server.asked), len(answers)) - 1]

    with started(answer) as origin:
        client = made(webhook_networks=LOOPBACK)
        ended(client, post(client, photo, f"{origin.url}/hook"))
        heard(origin, 4)
        time.sleep(1)
        assert [asked.path for asked in origin.asked] == ["/hook"] * 4


def test_one_that_was_due_when_the_server_ended_is_told_by_the_next(made: Made, photo: bytes) -> None:
    with started(lambda server, asked: Reply()) as origin:
        client = made(webhook_networks=LOOPBACK)
        jobs = client.application.extensions["nanoedge.jobs"]
        jobs._opened().webhooks.stop(5)
        ended(client, post(client, photo, origin.url))
        jobs.stop(10)
        assert not origin.asked
        made(webhook_networks=LOOPBACK)
        heard(origin, 1)


def test_private_addresses_are_not_told_anything(made: Made, photo: bytes) -> None:
    client = made()
    jobs = client.application.extensions["nanoedge.jobs"]
    refused = client.post("/v1/edits/jobs", data={
        "image": (BytesIO(photo), "p.jpg"), "instructions": "warmer", "webhook_secret": SECRET,
        "webhook_url": "http://127.0.0.1:9/",
    })  # fmt: skip
    assert refused.status_code == 400 and refused.get_json()["error"]["param"] == "webhook_url"
    url = post(client, photo, "http://localhost/hook")  # a name: where it leads is seen when it is told
    ended(client, url)
    store, end = jobs._opened().store, time.monotonic() + 10
    while store.due_webhook(lambda attempts: 0.0) is not None:
        assert time.monotonic() < end, "it was given up at once"
        time.sleep(0.1)
