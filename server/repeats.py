"""Requests that come twice run once: answers are kept for a while, under the caller's Idempotency-Key or the body.

Without an Idempotency-Key a request counts as a repetition when a caller with an API key sends the same body again
within ten minutes, or when a client's library says that it tries again. `Cache-Control: no-cache` asks for another run.
Only answers of success are kept; how much is bounded, the oldest go first. They end with the process: jobs don't.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Final, TypeVar, cast

from flask import Response, current_app, request

from edge_runtime.errors import RepeatError, ReusedKeyError
from server.caller import ANYBODY, caller
from server.fingerprint import fingerprint, idempotency_key

KEEP_SECONDS: Final = 600.0
MAX_BYTES: Final = 32 * 1024**2
MAX_ANSWERS: Final = 256
_RETRY_COUNT: Final = "X-Stainless-Retry-Count"
_REPLAYED: Final = "Idempotency-Replayed"
_OWN_HEADERS: Final = ("Content-Type", "Location", "X-Model", "X-Version", "X-Plan", "X-Seed", "X-Route", "X-Warnings",
                       "X-Address")  # fmt: skip
_FAILED_EVENT: Final = b"event: error\n"
_View = TypeVar("_View", bound=Callable[[], Response])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as it was given; nothing of the connection it went over."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def response(self) -> Response:
        """Return it once more."""
        response = Response(self.body, status=self.status, headers=list(self.headers))
        response.headers[_REPLAYED] = "true"
        return response


@dataclass(slots=True, kw_only=True)
class _Entry:
    fingerprint: bytes
    began: float
    answer: Answer | None = None


class Answers:
    """Answers by caller and key. Safe to share between threads."""

    def __init__(self, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes, self._clock = max_bytes, clock
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def begin(self, name: tuple[str, str], body: bytes) -> Answer | None:
        """Return the answer that was given before; None makes the caller the one who answers, and then `end`s it.

        Raises RepeatError while another does so, ReusedKeyError for another body under the same name.
        """
        with self._lock:
            self._forget_old()
            entry = self._entries.get(name)
            if entry is None:
                self._entries[name] = _Entry(fingerprint=body, began=self._clock())
                return None
        if entry.fingerprint != body:
            raise ReusedKeyError(
                "this Idempotency-Key came with another request before", hint="use a new key for a new request"
            )
        if entry.answer is None:
            error = RepeatError("the same request is being worked on", hint="try again in a second")
            error.retry_after_seconds = 1
            raise error
        return entry.answer

    def forget(self, name: tuple[str, str]) -> bool:
        """Drop the answer of a name, if there is one; false while it is being worked on."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and entry.answer is not None:
                self._drop(name)
            return entry is None or entry.answer is not None

    def end(self, name: tuple[str, str], answer: Answer | None) -> None:
        """Keep the answer; None, or one that is too large: the next such request runs."""
        with self._lock:
            entry = self._entries[name]
            if answer is None or len(answer.body) > self._max_bytes:
                del self._entries[name]
                return
            entry.answer = answer
            self._bytes += len(answer.body)
            self._make_room()

    def _forget_old(self) -> None:
        limit = self._clock() - KEEP_SECONDS
        for name in [name for name, entry in self._entries.items() if entry.answer and entry.began < limit]:
            self._drop(name)

    def _make_room(self) -> None:
        done = [name for name, entry in self._entries.items() if entry.answer]
        while done and (self._bytes > self._max_bytes or len(done) > MAX_ANSWERS):
            self._drop(done.pop(0))

    def _drop(self, name: tuple[str, str]) -> None:
        answer = self._entries.pop(name).answer
        self._bytes -= len(answer.body) if answer else 0


def once(view: _View) -> _View:
    """Have a view's requests that come twice run once."""

    @wraps(view)
    def answered() -> Response:
        key = idempotency_key(request)
        if key is None and not _is_watched():
            return view()
        answers = cast(Answers, current_app.extensions["nanoedge.answers"])
        body = fingerprint(request)
        name = (caller(), f"key {key}" if key is not None else f"body {body.hex()}")
        if key is None and _is_first() and not answers.forget(name):
            return view()
        given = answers.begin(name, body)
        if given is not None:
            return given.response()
        return _kept(view, lambda answer: answers.end(name, answer))

    return cast(_View, answered)


def may_repeat() -> bool:
    """Say whether the current request, which has no Idempotency-Key, counts as an earlier one with the same body."""
    return _is_watched() and not _is_first()


def _is_watched() -> bool:
    """Say whether a request without a key counts: of a known caller, or of a library that says when it tries again."""
    if request.cache_control.no_cache:
        return False
    return caller() != ANYBODY or _RETRY_COUNT in request.headers


def _is_first() -> bool:
    """Say whether a library asks for the first time, for a caller who may be anybody: not a repetition then."""
    return caller() == ANYBODY and request.headers.get(_RETRY_COUNT) == "0"


def _kept(view: Callable[[], Response], end: Callable[[Answer | None], None]) -> Response:
    try:
        response = view()
        if response.is_streamed:
            return _streamed(response, end)
        answer = _answer(response, response.get_data()) if response.status_code < 300 else None
    except BaseException:
        end(None)
        raise
    end(answer)
    return response


def _streamed(response: Response, end: Callable[[Answer | None], None]) -> Response:
    """Keep what is streamed when it has come to its end; one that a client left, or that failed, runs again."""
    sent: list[bytes] = []
    whole = threading.Event()
    source = response.response
    told = response.iter_encoded()

    def passed() -> Iterator[bytes]:
        try:
            for chunk in told:
                sent.append(chunk)
                yield chunk
            whole.set()
        finally:
            if hasattr(source, "close"):  # it notices here that the client has left
                source.close()

    def closed() -> None:
        good = whole.is_set() and not any(chunk.startswith(_FAILED_EVENT) for chunk in sent)
        end(_answer(response, b"".join(sent)) if good else None)

    response.response = passed()
    response.call_on_close(closed)
    return response


def _answer(response: Response, body: bytes) -> Answer:
    headers = tuple((name, response.headers[name]) for name in _OWN_HEADERS if name in response.headers)
    return Answer(status=response.status_code, headers=headers, body=body)
