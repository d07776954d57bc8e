"""The application factory. Nothing happens at import; every application has its own service, lane and metrics."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request

from edge_runtime import __version__
from server import description, edits, entrance, health, logs, models, openai, page, problems, results_routes, routes
from server.access import Access
from server.admission import Places
from server.caller import caller
from server.config import ServerConfig
from server.jobs import routes as jobs
from server.jobs.desk import Jobs
from server.lane import Lane
from server.metrics import Metrics
from server.node import Node, current_node
from server.repeats import Answers
from server.results import Results
from server.tracing import UNTRACED, Tracing

if TYPE_CHECKING:
    from edge_runtime.service import EditService
    from server.store_watch import StoreWatch

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def create_app(
    service: EditService | None = None, config: ServerConfig | Mapping[str, Any] | None = None,
    tracing: Tracing = UNTRACED, watch: StoreWatch | None = None,
) -> Flask:
    """Return the WSGI application over `service`, which stays the caller's to close.

    Without a service the models of the configuration are opened, nano-banana first. `watch` changes the service's
    models as the model store says.
    """
    settings = config if isinstance(config, ServerConfig) else ServerConfig(**(config or {}))
    app = Flask("server", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["TRUSTED_HOSTS"] = list(settings.trusted_hosts) if settings.trusted_hosts is not None else None
    app.json.sort_keys = False  # type: ignore[attr-defined]
    node = app.extensions["nanoedge"] = Node(
        service=service or _open(settings),
        lane=Lane(settings.max_waiting, settings.max_wait_seconds),
        outgoing=Places(settings.max_outgoing if settings.providers else 0),
        metrics=Metrics(),
        access=Access(settings.state),
        tracing=tracing,
        config=settings,
        results=Results(settings.store, settings.state, settings.keep_seconds, settings.quota),
        watch=watch,
    )
    node.metrics.watch(lambda: node.lane.waiting, lambda: node.lane.running, __version__)
    node.metrics.watch_remotes(node.service.remotes.values())
    problems.register(app)
    app.before_request(_begin)
    app.after_request(_finish)
    entrance.register(app)
    if settings.store is not None:
        node.results.open()  # a place that can't be used is refused at the start
    app.extensions["nanoedge.answers"] = Answers()
    kept = app.extensions["nanoedge.jobs"] = Jobs(node)
    node.metrics.watch_kept({"results": node.results.kept_bytes, "jobs": kept.kept_bytes}, settings.quota.total)
    for part in (edits, openai, routes, jobs, results_routes, models, health, page, description):
        app.register_blueprint(part.blueprint)
    return app


def _open(settings: ServerConfig) -> EditService:
    # Imported here: an application over a given service must not pay for the engines.
    from edge_runtime.service import open_service

    return open_service(settings.models, settings.threads, settings.providers)


def _begin() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    g.began = time.monotonic()
    g.trace = current_node().tracing.begin(request.method, _route(), g.request_id, dict(request.headers))


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers.setdefault("Cache-Control", "no-store")
    seconds, status = time.monotonic() - g.get("began", time.monotonic()), response.status_code
    current_node().metrics.answered(_route(), request.method, status, seconds)
    logs.answered({
        "method": request.method, "route": _route(), "status": status, "seconds": round(seconds, 4), "caller": caller(),
        "code": g.get("problem_code"),
    })  # fmt: skip
    trace = g.get("trace", UNTRACED)
    if response.is_streamed:
        response.call_on_close(lambda: trace.ended(status))
    else:
        trace.ended(status)
    return response


def _route() -> str:
    """Return a rule of ours, never the path that a client made up."""
    return request.url_rule.rule if request.url_rule else "unmatched"
