"""The voting page over HTTP: questions, pictures without names, answers.

What the browser gets names no model, until it asks for the ranking: a picture's address is its question's random name
and a side, and its bytes are encoded anew, without what the file says about its origin.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import Forbidden, HTTPException, NotFound

from converters.bench.election import Election
from converters.bench.scenes import read_file
from converters.bench.vote_store import Ballot, Choice
from edge_runtime import images
from edge_runtime.errors import InputError, NanoedgeError
from edge_runtime.limits import Limits

_FOLDER: Final = Path(__file__).parent / "vote_page"
# Spelled out: what Python guesses comes from the machine's registry, which may call a module text/plain.
_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_COOKIE: Final = "voter"
_COOKIE_SECONDS: Final = 365 * 86400
_VOTER: Final = re.compile(r"[\w-]{20,40}")
_LARGEST_BODY_BYTES: Final = 4096
_LIMITS: Final = Limits()


def create_app(election: Election, host: str) -> Flask:
    """Return the application. `host` is the name under which it was told to listen."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_BODY_BYTES
    app.before_request(lambda: _enter(host))
    app.after_request(_leave)
    app.register_error_handler(NanoedgeError, lambda error: _error(str(error), error.status))
    app.register_error_handler(HTTPException, _http_error)
    app.add_url_rule("/", view_func=lambda: _file("index.html"), endpoint="index")
    app.add_url_rule("/page/<name>", view_func=_file, endpoint="file")
    _add_questions(app, election)
    return app


def _add_questions(app: Flask, election: Election) -> None:
    @app.get("/question")
    def question() -> Response:
        return jsonify(_described(election, election.next(g.voter)))

    @app.get("/picture/<name>/<side>")
    def picture(name: str, side: str) -> Response:
        ballot = election.ballot(g.voter, name)
        scene = election.scene(ballot)
        sides = {"before": scene.before, "left": scene.pictures[ballot.left], "right": scene.pictures[ballot.right]}
        if side not in sides:
            raise NotFound
        return Response(_anonymous(sides[side]), mimetype="image/png")

    @app.post("/vote")
    def vote() -> Response:
        body = _body()
        choices = {choice.value: choice for choice in Choice}
        if body.get("choice") not in choices:
            raise InputError("there is no such choice", got=body.get("choice"), allowed=", ".join(choices))
        election.vote(g.voter, str(body.get("name")), choices[body["choice"]])
        return jsonify(_described(election, election.next(g.voter)))

    @app.post("/undo")
    def undo() -> Response:
        return jsonify(_described(election, election.undo(g.voter) or election.next(g.voter)))

    @app.post("/ranking")
    def ranking() -> Response:
        return jsonify(asdict(election.ranking()))


def _described(election: Election, ballot: Ballot | None) -> dict[str, Any]:
    told: dict[str, Any] = {"progress": asdict(election.progress(g.voter)), "question": None}
    if ballot is not None:
        scene = election.scene(ballot)
        told["question"] = {"name": ballot.name, "instruction": scene.instruction, "language": scene.language}
    return told


def _anonymous(path: Path) -> bytes:
    """Return a picture's pixels as PNG: no metadata, no trace of the file's name, format or quality."""
    photo = images.decode(read_file(path), _LIMITS)
    return images.encode(photo.pixels, photo.has_alpha, "png")[0]


def _body() -> Mapping[str, Any]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise InputError("the body must be a JSON object", got=request.mimetype)
    return body


def _enter(host: str) -> None:
    """Refuse a strange Host, which DNS rebinding sends, and pages of other sites; know the voter by a cookie."""
    if not _is_own_name(urlsplit(f"//{request.host}").hostname or "", host):
        raise Forbidden(f"This page is not called {request.host[:80]!r}. Use the address that nanoedge printed.")
    origin = request.headers.get("Origin")
    if request.method != "GET" and origin is not None and urlsplit(origin).netloc != request.host:
        raise Forbidden(f"Pages of other sites may not vote. Got {origin[:80]}.")
    given = request.cookies.get(_COOKIE, "")
    g.is_known = _VOTER.fullmatch(given) is not None
    g.voter = given if g.is_known else secrets.token_urlsafe(18)
    if not g.is_known and request.path != "/" and not request.path.startswith("/page/"):
        raise Forbidden("This browser is not known yet. Load the page again, with cookies allowed.")


def _is_own_name(name: str, host: str) -> bool:
    """Say whether a Host header is harmless: rebinding needs a name that somebody else's DNS answers for."""
    if name in ("localhost", host):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _leave(response: Response) -> Response:
    response.headers.update(_HEADERS)
    if request.path == "/" and not g.get("is_known", True):
        response.set_cookie(_COOKIE, g.voter, max_age=_COOKIE_SECONDS, httponly=True, samesite="Strict")
    return response


def _file(name: str) -> Response:
    # Compared with what is there, so that no name can lead out of the folder.
    path = next((path for path in _FOLDER.iterdir() if path.name == name and path.suffix in _TYPES), None)
    if path is None:
        raise NotFound
    return Response(path.read_bytes(), mimetype=_TYPES[path.suffix])


def _http_error(error: HTTPException) -> Response:
    return _error(error.description or error.name, error.code or 500)


def _error(message: str, status: int) -> Response:
    response = jsonify({"error": {"message": message}})
    response.status_code = status
    return response
