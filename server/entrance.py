"""What every request passes before its body is read: pages of other sites, the API key, its rate, the body's length.

A WSGI server that knows the headers before the body may ask `Entrance.refusal` and spare itself the body; what it then
puts under REFUSAL is raised here, so that such a request gets the same answer as any other.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from flask import Flask, Response, g, request
from werkzeug.exceptions import RequestEntityTooLarge

from edge_runtime.errors import AccessError, NanoedgeError
from server import cors
from server.access import Access, Asked, Header
from server.buckets import RateError
from server.caller import set_caller
from server.node import current_node

REFUSAL: Final = "nanoedge.refusal"
"""In the WSGI environment: why the request is refused, so that its body was not read."""


class Entrance:
    """The checks that need headers only, for a WSGI server."""

    def __init__(self, access: Access, max_body_bytes: int) -> None:
        self._access, self._max_body_bytes = access, max_body_bytes

    def refusal(self, method: str, path: str, header: Header, body_bytes: int) -> Exception | None:
        """Return why a request will be refused, whatever its body; also that the keys can't be read."""
        try:
            self._access.look(Asked(method=method, path=path, header=header))
        except (NanoedgeError, sqlite3.Error) as error:
            return error
        return RequestEntityTooLarge() if body_bytes > self._max_body_bytes else None


def register(app: Flask) -> None:
    """Check every request of `app`, and say in the answers what is left of a rate."""
    app.before_request(_enter)
    app.after_request(_tell_rate)
    app.after_request(cors.tell)


def _enter() -> Response | None:
    if (told := cors.check()) is not None:
        return told
    if (refusal := request.environ.get(REFUSAL)) is not None:
        _note_level(refusal)
        raise refusal
    node = current_node()
    asked = Asked(method=request.method, path=request.path, header=request.headers.get)
    try:
        key = node.access.key(asked)
        if key is not None:
            set_caller(key.id)
        g.level = node.access.counted(key, asked)
    except AccessError as error:
        _note_level(error)
        raise
    if (request.content_length or 0) > node.config.max_body_bytes:
        raise RequestEntityTooLarge
    return None


def _note_level(error: Exception) -> None:
    if isinstance(error, RateError):
        g.level = error.level


def _tell_rate(response: Response) -> Response:
    level = g.get("level")
    if level is not None:
        response.headers.update(level.headers())
    return response
