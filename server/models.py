"""`GET /v1/models` and `GET /v1/models/<id>`, the latter with the vocabulary of plans or a painter's abilities."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from flask import Blueprint, Response, jsonify

from edge_runtime.breaker import BreakerState
from edge_runtime.errors import UnknownModelError
from edge_runtime.plan import Adjustment, Vocabulary
from edge_runtime.route import LocalOffer
from server.node import current_node

if TYPE_CHECKING:
    from edge_runtime.remote import Remote
    from edge_runtime.service import EditService, ModelInfo

blueprint = Blueprint("models", __name__)


@blueprint.get("/v1/models")
def models() -> Response:
    """List the models, those of providers last, and what the store's active versions can't be served for."""
    service = current_node().service
    data = [*map(_model, service.models()), *map(_remote, service.remotes.values())]
    refused = [asdict(one) for one in watch.refused] if (watch := current_node().watch) else []
    return jsonify({"object": "list", "data": data, "x_refused": refused})


@blueprint.get("/v1/models/<path:name>")
def model(name: str) -> Response:
    """Describe one model; raises UnknownModelError."""
    service = current_node().service
    for info in service.models():
        if info.id == name:
            return jsonify({**_model(info), **_details(service, name)})
    if name in service.remotes:
        return jsonify(_remote(service.remotes[name]))
    names = ", ".join((*(info.id for info in service.models()), *service.remotes))
    raise UnknownModelError("there is no such model", got=name, allowed=names, param="model")


def _details(service: EditService, name: str) -> dict[str, object]:
    abilities = service.abilities(name)
    if abilities is None:
        return {"vocabulary": _vocabulary(service.vocabulary(name))}
    return {"abilities": {**asdict(abilities), "guidance": dict(abilities.guidance)}}


def _model(info: ModelInfo) -> dict[str, object]:
    return {
        "id": info.id,
        "object": "model",
        "created": info.created,
        "owned_by": "nanoedge",
        "x_site": LocalOffer.site,
        "x_family": info.family,
        "x_version": info.version,
        "x_recipe": info.recipe,
        "x_ready": info.ready,
    }


def _remote(remote: Remote) -> dict[str, object]:
    """Return a provider as a model: under the name that requests call it by."""
    offer = remote.offer()
    return {
        "id": offer.name,
        "object": "model",
        "created": int(remote.since),
        "owned_by": offer.kind,
        "x_site": offer.site,
        "x_family": offer.family,
        "x_version": None,
        "x_recipe": None,
        "x_ready": offer.breaker in (BreakerState.CLOSED, BreakerState.PROBING),
        "x_model": offer.model,
        "x_price_usd": offer.price_usd,
    }


def _vocabulary(vocabulary: Vocabulary) -> dict[str, object]:
    return {
        "adjustments": [_adjustment(entry) for entry in vocabulary.adjustments],
        "regions": list(vocabulary.regions),
        "colors": dict(vocabulary.colors),
    }


def _adjustment(entry: Adjustment) -> dict[str, object]:
    return {**asdict(entry), "label": dict(entry.label)}
