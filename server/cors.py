"""Pages and extensions of other origins: who may send requests, and what their browser is told (CORS).

A page of another site may send a form here without asking, so what isn't on the list is refused at once.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from flask import Response, request
from werkzeug.exceptions import Forbidden

from server.node import current_node

_METHODS: Final = "GET, POST, DELETE"
_HEADERS: Final = (
    "Authorization, X-Api-Key, X-Key, Content-Type, Accept, Idempotency-Key, Prefer, X-Request-Id, traceparent"
)
_EXPOSED: Final = (
    "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, Location, X-Model, X-Version, X-Plan, X-Seed, X-Route, "
    "X-Warnings"
)
_REMEMBERED_SECONDS: Final = "600"


def check() -> Response | None:
    """Refuse a request of a strange origin; answer a browser that asks whether a listed one may send.

    Raises Forbidden. What only looks is let through: without our word the browser doesn't show the answer to the page.
    """
    origin = request.headers.get("Origin")
    if origin is None or urlsplit(origin).netloc == request.host:
        return None
    if origin in current_node().config.allowed_origins:
        asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return Response(status=204) if asks else None
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    raise Forbidden(
        f"Pages of other sites may not use this server. Got {origin[:80]}. "
        "For a browser extension of yours, start the server with --allow-origin and this value."
    )


def tell(response: Response) -> Response:
    """Say in an answer that its origin may read it; keys travel in headers, so cookies are never allowed."""
    allowed = current_node().config.allowed_origins
    if not allowed:
        return response
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin in allowed:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = _METHODS
            response.headers["Access-Control-Allow-Headers"] = _HEADERS
            response.headers["Access-Control-Max-Age"] = _REMEMBERED_SECONDS
    return response
