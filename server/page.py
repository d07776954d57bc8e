"""The web page at `/`: static files with a strict content security policy, revalidated on every visit."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

blueprint = Blueprint("page", __name__)

_FOLDER = Path(__file__).parent / "page"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
# Spelled out: what Python guesses comes from the machine's registry, which may call a module text/plain.
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@blueprint.get("/")
def index() -> Response:
    """Return the page."""
    return _file("index.html")


@blueprint.get("/page/<name>")
def file(name: str) -> Response:
    """Return one of the page's files."""
    return _file(name)


def _file(name: str) -> Response:
    # Compared with what is there, so that no name can lead out of the folder.
    path = next((path for path in _FOLDER.iterdir() if path.name == name and path.suffix in _TYPES), None)
    if path is None:
        raise NotFound
    response = Response(path.read_bytes(), mimetype=_TYPES[path.suffix])
    # An upgrade must never mix old scripts with a new page, and asking again costs nothing on this machine.
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Content-Security-Policy"] = _POLICY
    response.add_etag()
    response.make_conditional(request)
    return response
