"""Error answers of providers, in their several forms."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest

from edge_runtime.refusals import is_moderation, is_rule, message, retry_after
from edge_runtime.wire import Answer


def answer(body: object, status: int = 400, **headers: str) -> Answer:
    return Answer(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "no such model", "code": "model_not_found", "param": None}}, "model_not_found no such"),
        ({"detail": "Not found"}, "Not found"),
        ({"detail": [{"msg": "field required"}]}, "field required"),
        ({"code": "InvalidParameter", "message": "bad size", "request_id": "r"}, "InvalidParameter bad size"),
        ({"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}, "429 quota RESOURCE_EXHAUSTED"),
        ({"error": "down"}, "down"), ([1], "[1]"), (b"<html>down</html>", "<html>down"),
        (b"\xff\xfe", "\ufffd"), (b"", ""),
    ],
)  # fmt: skip
def test_what_an_error_says(body: object, words: str) -> None:
    assert words in message(answer(body))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3), ("0.5", 0.5), ("-1", 0), ("", None), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after(answer(b"", **{"retry-after": text})) == seconds


def test_retry_after_a_date_to_come() -> None:
    found = retry_after(answer(b"", **{"retry-after": formatdate(time.time() + 30, usegmt=True)}))
    assert found is not None and 27 < found <= 30


@pytest.mark.parametrize(
    ("body", "status", "refused"),
    [
        ({"error": {"code": "moderation_blocked", "message": "x"}}, 400, True),
        ({"error": {"message": "Your request was rejected as a result of our safety system."}}, 400, True),
        ({"code": "DataInspectionFailed", "message": "x"}, 400, True),
        ({"detail": [{"loc": ["body", "safety_tolerance"], "msg": "at most 6"}]}, 422, False),
        ({"error": {"message": "moderation is overloaded"}}, 503, False),
        ({"error": {"message": "moderation quota"}}, 429, False),
    ],
)
def test_what_is_a_refusal_of_content(body: object, status: int, refused: bool) -> None:
    assert is_moderation(answer(body, status)) is refused


def test_googles_retry_info() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]
    quota = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}
    assert retry_after(answer(quota, 429)) == 34.5
    assert retry_after(answer(quota, 429, **{"retry-after": "2"})) == 2


def test_a_rule_about_passing_on_is_no_word_about_the_key() -> None:
    ruled = {"error": {"code": "egress_forbidden", "message": "passed on"}}
    assert is_rule(answer(ruled, 403)) and not is_rule(answer(ruled, 401))
    assert not is_rule(answer({"error": {"code": "bad_key", "message": "egress_forbidden"}}, 403))
