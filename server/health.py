"""`/healthz`, `/readyz` and `/metrics`. None of them waits for an edit."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from server.node import current_node

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Say that the process answers. Never touches the model."""
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Say whether an edit would be taken now; 503 with the reasons otherwise."""
    node = current_node()
    reasons = list(node.service.obstacles())
    if obstacle := node.lane.obstacle:
        reasons.append(obstacle)
    response = jsonify({"status": "unready" if reasons else "ready", "reasons": reasons})
    if reasons:
        response.headers["Retry-After"] = "1"
    return response, 503 if reasons else 200


@blueprint.get("/metrics")
def metrics() -> Response:
    """Return the metrics in Prometheus' text format."""
    node = current_node()
    node.metrics.models(
        ((info.id, info.version, info.ready) for info in node.service.models()),
        ((one.model, one.version) for one in (node.watch.refused if node.watch else ())),
    )
    return Response(node.metrics.text(), content_type="text/plain; version=0.0.4; charset=utf-8")
