"""`GET /v1/results/<space>/<digest>`: stored pictures behind links that this server signed, which need no key."""

from __future__ import annotations

from flask import Blueprint, Response, request

from edge_runtime.errors import UnknownError
from server.node import current_node

blueprint = Blueprint("results", __name__)


@blueprint.get("/v1/results/<space>/<digest>")
def picture(space: str, digest: str) -> Response:
    """Return the picture of a link; 404 for a wrong one, 410 for an old one."""
    until = request.args.get("expires", 0, type=int)
    name = f"{space}/{digest}"
    if not name.replace("/", "").isalnum():
        raise UnknownError("there is no such result")
    data, media_type = current_node().results.linked(name, until, request.args.get("signature", ""))
    response = Response(data, mimetype=media_type)
    response.headers["Content-Security-Policy"] = "default-src 'none'"
    return response
