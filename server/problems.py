"""Errors as HTTP answers: problem+json (RFC 9457) with OpenAI's `error` member, so that both kinds of clients
find the message. The client never sees a traceback; the log has it under the same request id.
"""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, SecurityError

from edge_runtime.errors import (
    BusyError,
    FullError,
    NanoedgeError,
    NothingKeptError,
    ProviderError,
    RouteDeadlineError,
    RouteError,
    RouteSpentError,
    StateError,
)
from server.node import current_node
from server.room import is_full, no_room

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
UNEXPECTED = "Something went wrong in the server. Its log says what."
_EXPECTED = (BusyError, RouteError, ProviderError, NothingKeptError)
"""Happen in good order; a traceback in the log would tell nothing."""

_HOPELESS = (RouteDeadlineError, RouteSpentError, FullError)
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def problem(
    status: int, detail: str, *, code: str, param: str | None = None, path: str = "", request_id: str = ""
) -> dict[str, Any]:
    """Return the body of an error answer."""
    return {
        "type": f"urn:nanoedge:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": path,
        "request_id": request_id,
        "error": {"message": detail, "type": _openai_type(status), "code": code, "param": param},
    }


def register(app: Flask) -> None:
    """Answer every error of `app` as a problem."""
    app.register_error_handler(NanoedgeError, _our_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected_error)


def logged(error: Exception, request_id: str = "?") -> None:
    """Write to the log what the operator must look into: not what clients did wrong or what happens in good order."""
    if isinstance(error, FullError):
        logger.error("request %s found no room: %s", request_id, error.__cause__ or error)
    elif not isinstance(error, NanoedgeError):
        logger.error("request %s failed unexpectedly", request_id, exc_info=error)
    elif error.status >= 500 and not isinstance(error, _EXPECTED):
        logger.error("request %s failed", request_id, exc_info=error)


def message(error: NanoedgeError) -> str:
    """Return what a client is told: which file of the node is at fault is for its operator to know."""
    hidden = isinstance(error, StateError) and not isinstance(error, NothingKeptError | FullError)
    return UNEXPECTED if hidden else str(error)


def _our_error(error: NanoedgeError) -> Response:
    current_node().metrics.refused(error)
    logged(error, g.request_id)
    response = _answer(error.status, message(error), code=error.code, param=error.param)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, _HOPELESS):
        response.headers["X-Should-Retry"] = "false"  # OpenAI's clients ask twice more otherwise
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="nanoedge"'
    return response


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    code, detail = _http_words(error, status)
    response = _answer(status, detail, code=code)
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After", "Location"):
            response.headers[name] = value
    return response


def _http_words(error: HTTPException, status: int) -> tuple[str, str]:
    if isinstance(error, SecurityError):
        host = request.headers.get("Host", "")[:80]
        return "untrusted_host", f"This server is not called {host!r}. Use the address that it printed when it started."
    if isinstance(error, RequestEntityTooLarge):
        limit = current_app.config["MAX_CONTENT_LENGTH"] // 1024**2
        return "body_too_large", f"The request is too large. Allowed: {limit} MiB. Send a smaller photo."
    if status == HTTPStatus.NOT_FOUND:
        return "not_found", f"There is nothing at {request.path[:200]}."
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return "method_not_allowed", f"{request.method} is not answered at {request.path[:200]}."
    return HTTPStatus(status).name.lower(), error.description or HTTPStatus(status).phrase


def _unexpected_error(error: Exception) -> Response:
    if is_full(error):  # the folder for temporary files, where large bodies wait
        full = no_room("the request can't be read")
        full.__cause__ = error
        return _our_error(full)
    logged(error, g.get("request_id", "?"))
    return _answer(500, UNEXPECTED, code="internal_error")


def _answer(status: int, detail: str, *, code: str, param: str | None = None) -> Response:
    g.problem_code = code
    body = problem(
        status, detail, code=code, param=param, path=request.path[:200], request_id=g.get("request_id", "")
    )
    return Response(json.dumps(body), status=status, mimetype=MEDIA_TYPE)


def _openai_type(status: int) -> str:
    if status in _OPENAI_TYPES:
        return _OPENAI_TYPES[status]
    return "invalid_request_error" if status < 500 else "server_error"
