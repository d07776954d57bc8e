"""Jobs over HTTP: `POST /v1/edits/jobs`, and `POST /edit` with `Prefer: respond-async`, answer 202 at once.

The `polling_url` tells the state, `/result` below it gives the picture, `/cancel` ends it early. A job is its caller's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify, request

from edge_runtime.errors import NanoedgeError, RepeatError, RouteError
from edge_runtime.request import EditRequest
from server.caller import caller
from server.edits import edit_request
from server.fingerprint import fingerprint, idempotency_key
from server.inputs import FORM_TYPES, Fields
from server.jobs.desk import current_jobs
from server.jobs.job import Claim, Job, State, Wanted, Webhook, state_of
from server.node import current_node
from server.repeats import may_repeat
from server.shelf import current_shelf

blueprint = Blueprint("jobs", __name__)

_PATH = "/v1/edits/jobs"
_RETRY_SECONDS = "1"
_OPEN = (State.PENDING, State.PROCESSING)


@blueprint.before_app_request
def respond_async() -> Response | None:
    """Make an edit a job where its client prefers that."""
    preferred = [part.strip().lower() for part in request.headers.get("Prefer", "").split(",")]
    if request.method == "POST" and request.path == "/edit" and "respond-async" in preferred:
        response = admit()
        response.headers["Preference-Applied"] = "respond-async"
        return response
    return None


@blueprint.post(_PATH)
def admit() -> Response:
    """Keep an edit like those of `POST /edit`, and do it when its turn comes."""
    claim = Claim(
        caller=caller(), fingerprint=fingerprint(request), idempotency_key=idempotency_key(request),
        may_repeat=may_repeat(),
    )
    fields = Fields.of(request, "application/json", *FORM_TYPES)
    wanted = edit_request(fields)
    _refuse_the_impossible(wanted)
    webhook, stored = _webhook(fields), fields.flag("store") or fields.text("parent") is not None
    job = current_jobs().admit(
        Wanted(request=wanted, stored=stored, webhook=webhook, warnings=fields.warnings()), claim
    )
    body = {"id": job.id, "polling_url": _url(job), "status": job.state.value}
    response = jsonify(body)
    response.status_code = HTTPStatus.ACCEPTED
    response.headers["Location"] = _url(job)
    response.headers["Retry-After"] = _RETRY_SECONDS
    return response


@blueprint.get(f"{_PATH}/<name>")
def state(name: str) -> Response:
    """Tell where a job stands."""
    job, told, progress = current_jobs().job(name, caller())
    body = state_of(job, told) | {"progress": round(progress, 3), "polling_url": _url(job)}
    if job.state is State.PENDING:
        body["queue_position"] = job.position
    if job.state is State.READY:
        body["result"] = {"sample": f"{_url(job)}/result", **_linked(told)}
    response = jsonify(body)
    if job.state in _OPEN:
        response.headers["Retry-After"] = _RETRY_SECONDS
    return response


@blueprint.get(f"{_PATH}/<name>/result")
def result(name: str) -> Response:
    """Return the picture of a job that is Ready; 409 for another."""
    job, picture, told = current_jobs().picture(name, caller())
    if picture is None:
        raise RepeatError("the job has no result", got=job.state.value, hint="its state says why", code="no_result")
    response = Response(picture, mimetype=str(told["media_type"]))
    response.headers["X-Model"], response.headers["X-Version"] = str(told["model"]), str(told["version"])
    if told["warnings"]:
        response.headers["X-Warnings"] = json.dumps(told["warnings"])
    return response


@blueprint.post(f"{_PATH}/<name>/cancel")
def cancel(name: str) -> Response:
    """End a job early; 409 when it has ended."""
    job = current_jobs().cancel(name, caller())
    return jsonify({"id": job.id, "polling_url": _url(job), "status": job.state.value})


def _refuse_the_impossible(wanted: EditRequest) -> None:
    """Raise what will be wrong later too; want of capacity may pass, so it is no reason to refuse a job."""
    try:
        current_node().route(wanted)
    except NanoedgeError as error:
        if isinstance(error, RouteError) and error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return
        raise


def _webhook(fields: Fields) -> Webhook | None:
    url, secret = fields.text("webhook_url"), fields.text("webhook_secret")
    if url is None:
        return None
    current_jobs().check_webhook(url)
    return Webhook(url=url, secret=secret or "")


def _linked(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is told of a result, with a link to it where it was stored."""
    if "address" not in told:
        return told
    return {**told, "url": current_shelf().link(told["address"])}


def _url(job: Job) -> str:
    return f"{request.url_root.rstrip('/')}{_PATH}/{job.id}"
