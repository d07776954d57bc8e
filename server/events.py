"""An edit as server-sent events, as OpenAI's clients read them: an early picture, then the final one.

The early picture is the small model's, of what it understood. It is made while a provider is already at work, so it
costs the final one no time.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue

from flask import Response

from edge_runtime.errors import NanoedgeError
from edge_runtime.request import EditRequest, EditResult
from edge_runtime.route import LocalOffer, Route
from server.admission import Admission
from server.node import Node
from server.problems import UNEXPECTED, logged, message, problem

MEDIA_TYPE = "text/event-stream"
_SIGN_OF_LIFE_SECONDS = 10.0
"""Proxies cut connections that are silent for longer than some of these."""

Answer = Callable[[EditResult], dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStream:
    """One streamed edit. `previews` is how many early pictures are wanted, `began` when the request came."""

    node: Node
    admission: Admission
    wanted: EditRequest
    route: Route
    previews: int
    began: float

    def response(self, answer: Answer, done: Callable[[], None]) -> Response:
        """Return the answer; `done` is called when it was sent or the client has left."""
        response = Response(self._events(answer), mimetype=MEDIA_TYPE)
        response.call_on_close(done)
        return response

    def _events(self, answer: Answer) -> Iterator[str]:
        outcome: SimpleQueue[EditResult | Exception] = SimpleQueue()
        closed = threading.Event()
        left = self.admission.abandoned
        work = threading.Thread(
            target=self._work, args=(outcome, lambda: closed.is_set() or left()), name="streamed-edit"
        )
        here = isinstance(self.route.offer, LocalOffer)
        if not here:
            work.start()
        try:
            yield from self._preview(lambda: not outcome.empty() or left())
            if here:
                work.start()
            while outcome.empty():
                work.join(_SIGN_OF_LIFE_SECONDS)
                if work.is_alive():
                    yield ": at work\n\n"
            yield _ending(outcome.get(), answer)
        finally:  # the client may have left in the middle
            closed.set()
            if work.ident is not None:
                work.join()

    def _work(self, outcome: SimpleQueue[EditResult | Exception], abandoned: Callable[[], bool]) -> None:
        try:
            outcome.put(self.node.edited(self.wanted, self.admission, abandoned))
        except Exception as error:  # noqa: BLE001 - the boundary of this thread: what it met is told in the stream
            outcome.put(error)

    def _preview(self, needless: Callable[[], bool]) -> Iterator[str]:
        """Yield the early picture, unless the final one is the small model's own, or comes first."""
        if not self.previews or self.route.offer.beyond_limit is not None:
            return
        try:
            picture = self.node.preview(self.wanted, needless)
        except NanoedgeError:  # whether the edit can be done is for the final picture to say
            return
        if picture is not None:
            yield _event("image_edit.partial_image", {
                "partial_image_index": 0, "b64_json": base64.b64encode(picture.image).decode("ascii"),
                "created_at": int(time.time()), "size": f"{picture.width}x{picture.height}", "output_format": "jpeg",
                "quality": "auto", "background": "auto", "x_model": picture.model, "x_version": picture.version,
            })  # fmt: skip
            self.node.metrics.previewed(time.monotonic() - self.began)


def _ending(found: EditResult | Exception, answer: Answer) -> str:
    """Return the last event; also what goes wrong while the answer is made is told."""
    if isinstance(found, Exception):
        return _failed(found)
    try:
        return _completed(answer(found))
    except NanoedgeError as error:
        return _failed(error)


def _completed(answer: dict[str, object]) -> str:
    """Return the event for the final picture, with the members of the images object."""
    data = answer.pop("data")
    assert isinstance(data, list)
    members = {**data[0], "created_at": answer.pop("created"), "quality": "auto", "background": "auto", **answer}
    return _event("image_edit.completed", members)


def _failed(error: Exception) -> str:
    """Return the event for an edit that failed after the answer had begun, when no status can tell any more."""
    logged(error)
    if isinstance(error, NanoedgeError):
        told = problem(error.status, message(error), code=error.code, param=error.param)
    else:
        told = problem(500, UNEXPECTED, code="internal_error")
    return _event("error", {"status": told["status"], "error": told["error"]})


def _event(kind: str, members: dict[str, object]) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n"
