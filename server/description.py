"""`GET /openapi.json`: the API in OpenAPI 3.1, written by hand. A path with its methods is one file in `openapi/paths`.

A test compares it with the routes: what is missing on either side is named there.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, jsonify

from edge_runtime import __version__

blueprint = Blueprint("description", __name__)

_FOLDER = Path(__file__).parent / "openapi"


@blueprint.get("/openapi.json")
def document() -> Response:
    """Return the description of this API."""
    return jsonify(description())


@cache
def description() -> dict[str, Any]:
    """Return the description as data; callers must not change it."""
    whole: dict[str, Any] = json.loads((_FOLDER / "document.json").read_text(encoding="utf-8"))
    whole["info"]["version"] = __version__
    for file in sorted((_FOLDER / "paths").glob("*.json")):
        whole["paths"].update(json.loads(file.read_text(encoding="utf-8")))
    return whole
