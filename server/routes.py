"""`POST /v1/route`: who would do an edit, why, and why not the others. Nothing is done and nothing is sent anywhere."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from server.edits import edit_request
from server.inputs import FORM_TYPES, Fields
from server.node import current_node

blueprint = Blueprint("routes", __name__)


@blueprint.post("/v1/route")
def route() -> Response:
    """Answer with the decision for a request like those to `/edit`; errors are those that it would have."""
    node = current_node()
    with node.admission():
        fields = Fields.of(request, "application/json", *FORM_TYPES)
        decision = node.route(edit_request(fields))
    return jsonify({**decision.to_json(), "warnings": list(fields.warnings())})
