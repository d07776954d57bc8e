"""Requests that come twice run once: with an Idempotency-Key, of a known caller, of a library that tries again."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import openai
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from edge_runtime.errors import RepeatError, ReusedKeyError
from server.app import create_app
from server.repeats import KEEP_SECONDS, MAX_ANSWERS, Answer, Answers
from tests.server.darkroom import Darkroom
from tests.server.keyed import keyed
from tests.server.served import served
from tests.server.started import Started

KEY = {"Idempotency-Key": "k"}
AGAIN = {"X-Stainless-Retry-Count": "1"}
FIRST = {"X-Stainless-Retry-Count": "0"}


def edit(client: FlaskClient, photo: bytes, headers: Any = None, path: str = "/edit", **fields: str) -> TestResponse:
    words = {"instructions": "warmer"} if path == "/edit" else {"prompt": "warmer"}
    return client.post(path, data={"image": (BytesIO(photo), "p.jpg"), **words, **fields}, headers=headers)


@pytest.mark.parametrize("path", ["/edit", "/v1/images/edits"])
def test_the_same_key_and_body_run_once(client: FlaskClient, darkroom: Darkroom, photo: bytes, path: str) -> None:
    first, second = edit(client, photo, KEY, path), edit(client, photo, {"Idempotency-Key": '"k"'}, path)
    assert first.status_code == second.status_code == 200 and first.get_data() == second.get_data()
    assert "Idempotency-Replayed" not in first.headers and second.headers["Idempotency-Replayed"] == "true"
    assert darkroom.edits == 1
    other = edit(client, photo, KEY, path, size="100")
    assert other.status_code == 422 and other.get_json()["error"]["code"] == "key_reused"
    assert edit(client, photo, {"Idempotency-Key": "l"}, path).status_code == 200 and darkroom.edits == 2


def test_an_image_is_answered_as_an_image_again(client: FlaskClient, darkroom: Darkroom, photo: bytes) -> None:
    wanted = {**KEY, "Accept": "image/png"}
    first, second = (edit(client, photo, wanted) for _ in range(2))
    assert second.mimetype == "image/png" and second.get_data() == first.get_data() and darkroom.edits == 1
    assert second.headers["X-Plan"] == first.headers["X-Plan"]
    assert edit(client, photo, KEY).status_code == 422, "JSON of the same edit is another request"


def test_json_runs_once_too(client: FlaskClient, darkroom: Darkroom, photo: bytes) -> None:
    body = {"image_base64": base64.b64encode(photo).decode(), "instructions": "warmer"}
    assert [client.post("/edit", json=body, headers=KEY).status_code for _ in range(2)] == [200, 200]
    assert darkroom.edits == 1


def test_while_it_runs_another_is_told_to_wait(app: Flask, darkroom: Darkroom, photo: bytes) -> None:
    darkroom.gate.clear()
    answers: list[TestResponse] = []
    thread = threading.Thread(target=lambda: answers.append(edit(app.test_client(), photo, KEY)))
    thread.start()
    assert darkroom.started.wait(10)
    second = edit(app.test_client(), photo, KEY)
    assert second.status_code == 409 and second.headers["Retry-After"] == "1"
    darkroom.gate.set()
    thread.join()
    third = edit(app.test_client(), photo, KEY)
    assert third.get_data() == answers[0].get_data() and darkroom.edits == 1


def test_what_failed_runs_again(client: FlaskClient, darkroom: Darkroom, photo: bytes) -> None:
    for _ in range(2):
        assert edit(client, photo[:100], KEY).status_code == 400
    assert edit(client, photo, KEY).status_code == 200, "a failure binds the key to nothing"


@pytest.fixture
def guarded(darkroom: Darkroom, tmp_path: Path) -> Iterator[Flask]:
    """A node that can have keys."""
    app = create_app(darkroom, {"state": tmp_path / "state"})  # type: ignore[arg-type]
    yield app
    app.extensions["nanoedge"].access.close()


@pytest.mark.parametrize(
    ("headers", "known", "runs"),
    [
        (({}, {}), False, 2),  # anybody, who may be two people: a second wish
        (({}, {}), True, 1),
        (({}, {"Cache-Control": "no-cache"}), True, 2),
        ((FIRST, AGAIN), False, 1),
        ((FIRST, FIRST), False, 2),
        ((FIRST, FIRST), True, 1),
        ((FIRST, AGAIN), True, 1),
    ],
)
def test_without_a_key(
    guarded: Flask, darkroom: Darkroom, photo: bytes, headers: tuple[dict[str, str], ...], known: bool, runs: int
) -> None:
    client = keyed(guarded) if known else guarded.test_client()
    answers = [edit(client, photo, one) for one in headers]
    assert [answer.status_code for answer in answers] == [200, 200] and darkroom.edits == runs


def test_callers_do_not_see_each_others_answers(guarded: Flask, darkroom: Darkroom, photo: bytes) -> None:
    for client in (keyed(guarded), keyed(guarded)):
        assert "Idempotency-Replayed" not in edit(client, photo, KEY).headers
    assert darkroom.edits == 2


def test_a_stream_is_told_again(running: Started, photo: bytes) -> None:
    import urllib3

    http = urllib3.PoolManager(retries=False, timeout=30)
    fields = {"image": ("p.jpg", photo), "prompt": "warmer", "stream": "true", "model": "nano-banana"}
    told = [http.request("POST", f"{running.url}/v1/images/edits", fields=fields, headers=KEY) for _ in range(2)]
    assert [answer.headers.get("Idempotency-Replayed") for answer in told] == [None, "true"]
    assert told[0].data == told[1].data and b"event: image_edit.completed" in told[0].data


def test_the_openai_client_that_lost_the_answer_gets_it(running: Started, photo: bytes) -> None:
    """Its second try carries the count of tries; the first one's answer was lost on the way."""
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
        asked = {"image": ("p.jpg", photo), "prompt": "cooler", "output_format": "png"}
        first = client.images.with_raw_response.edit(**asked)  # type: ignore[call-overload]
        again = client.images.with_raw_response.edit(**asked, extra_headers=AGAIN)  # type: ignore[call-overload]
    assert again.headers["Idempotency-Replayed"] == "true" and first.content == again.content


def test_the_openai_client_asks_again_while_it_is_worked_on(
    guarded: Flask, darkroom: Darkroom, photo: bytes
) -> None:
    """Its own tries wait as the 409 says; the model is held still until it was told so once."""
    statuses: list[int] = []

    def told(response: Any) -> None:
        statuses.append(response.status_code)
        if response.status_code == RepeatError.status:
            darkroom.gate.set()

    darkroom.gate.clear()
    with (
        served(guarded) as url, ThreadPoolExecutor(1) as pool,
        openai.OpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=5,
            http_client=openai.DefaultHttpxClient(event_hooks={"response": [told]}),
        ) as client,
    ):
        asked: dict[str, Any] = {"image": ("p.jpg", photo), "prompt": "warmer", "extra_headers": KEY}
        first = pool.submit(client.images.with_raw_response.edit, **asked)
        assert darkroom.started.wait(10)
        again = client.images.with_raw_response.edit(**asked)
        assert again.content == first.result(20).content and again.headers["Idempotency-Replayed"] == "true"
    assert statuses[0] == 409 and statuses[-1] == 200 and darkroom.edits == 1


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def answer(size: int = 1) -> Answer:
    return Answer(status=200, headers=(), body=bytes(size))


def kept(answers: Answers, name: str) -> bool:
    """Say whether an answer is there, and leave things as they were."""
    if answers.begin(("anna", name), b"body") is not None:
        return True
    answers.end(("anna", name), None)
    return False


@pytest.fixture
def ends() -> Callable[[Answers, str, Answer], None]:
    def end(answers: Answers, name: str, given: Answer) -> None:
        assert answers.begin(("anna", name), b"body") is None
        answers.end(("anna", name), given)

    return end


def test_answers_are_bounded_in_time_bytes_and_number(ends: Callable[[Answers, str, Answer], None]) -> None:
    clock = Clock()
    answers = Answers(max_bytes=1000, clock=clock)
    ends(answers, "large", answer(1001))
    assert not kept(answers, "large")
    for name in "abc":
        ends(answers, name, answer(400))
    assert [kept(answers, name) for name in "abc"] == [False, True, True], "the oldest went"
    clock.now = KEEP_SECONDS + 1
    assert not kept(answers, "b")
    for number in range(MAX_ANSWERS + 1):
        ends(answers, f"{number}", answer())
    assert not kept(answers, "0") and kept(answers, "1")


def test_a_name_that_is_in_work_is_never_dropped(ends: Callable[[Answers, str, Answer], None]) -> None:
    clock = Clock()
    answers = Answers(max_bytes=1000, clock=clock)
    assert answers.begin(("anna", "long"), b"body") is None
    clock.now = KEEP_SECONDS * 2
    ends(answers, "a", answer(900))
    ends(answers, "b", answer(900))
    with pytest.raises(RepeatError):
        answers.begin(("anna", "long"), b"body")
    with pytest.raises(ReusedKeyError):
        answers.begin(("anna", "long"), b"another")
    answers.end(("anna", "long"), answer())
    assert kept(answers, "b"), "an answer that took long counts from its begin: it is old, the others stay"
