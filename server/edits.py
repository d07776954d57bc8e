"""`POST /edit` in our own words (JSON or multipart) and `POST /v1/plans`."""

from __future__ import annotations

import base64
import json

from flask import Blueprint, Response, jsonify, request

from edge_runtime.errors import ImageError, InstructionError
from edge_runtime.request import DEFAULT_MODEL, EditRequest, EditResult, Size, check_instruction
from server.inputs import FORM_TYPES, Fields, from_base64, from_url, mask, upload
from server.node import current_node
from server.repeats import once
from server.shelf import current_shelf

blueprint = Blueprint("edits", __name__)

_IMAGE_TYPES = {"image/jpeg": "jpeg", "image/png": "png", "image/webp": "webp"}


@blueprint.post("/edit")
@once
def edit() -> Response:
    """Edit one photo. Answers JSON, or the image itself when the client accepts image/*."""
    fields: list[Fields] = []

    def build() -> EditRequest:
        fields.append(Fields.of(request, "application/json", *FORM_TYPES))
        return edit_request(fields[0])

    result = current_node().edit(build)
    address, unstored = current_shelf().put_if_wanted(result, fields[0])
    warnings = (*result.warnings, *fields[0].warnings(), *unstored)
    return _image(result, warnings, address) if _wants_image() else jsonify(_answer(result, warnings, address))


@blueprint.post("/v1/plans")
def plan() -> Response:
    """Say what an instruction means, without a photo."""
    fields = Fields.of(request, "application/json", *FORM_TYPES)
    prompt = fields.text("prompt")
    if prompt is None:
        raise InstructionError("the prompt is missing", hint='send {"prompt": "warmer"}', param="prompt")
    check_instruction(prompt)
    return jsonify(current_node().plan(prompt, fields.text("model") or DEFAULT_MODEL).to_json())


def edit_request(fields: Fields) -> EditRequest:
    """Return the request that the members of `POST /edit` make; raises InputError."""
    current_shelf().check(fields)
    fields.refuse_text("reference")
    service = current_node().service
    size, model = fields.get("size"), fields.model(service.default_model)
    paints = service.abilities(model) is not None
    return EditRequest(
        image=_photo(fields),
        mask=mask(fields),
        instruction=_instruction(fields),
        plan=fields.plan(),
        model=model,
        size=Size.parse(str(size)) if size is not None else None,
        output_format=fields.text("output_format") or _accepted_format(),
        quality=fields.integer("quality", 90),
        **fields.placing(),
        **fields.finishing(),
        references=tuple(upload(part, "reference") for part in fields.files("reference")) if paints else (),
        **fields.painting(paints),
    )


def _instruction(fields: Fields) -> str | None:
    text = fields.text("instructions")
    if text is None and fields.get("plan") is None:
        raise InstructionError(
            "the instructions are missing", hint="send 'instructions' such as 'warmer', or a 'plan'",
            param="instructions",
        )
    return text


def _photo(fields: Fields) -> bytes:
    """Return the photo from the one member that holds it."""
    parts, text, url = fields.files("image"), fields.text("image_base64"), fields.text("image_url")
    parent = fields.text("parent")
    given = len(parts) + sum(one is not None for one in (text, url, parent))
    if given != 1:
        raise ImageError(
            "give exactly one photo", got=f"{given} photos",
            allowed="image (a file), image_base64, image_url or parent",
            code="missing_image" if not given else "too_many_images", param="image",
        )
    if text is not None:
        return from_base64(text, "image_base64")
    if parent is not None:
        return current_shelf().get(parent)
    return upload(parts[0], "image") if url is None else from_url(url)


def _wants_image() -> bool:
    """Prefer JSON unless the client likes images strictly better; `*/*` (curl, fetch) means JSON."""
    accept = request.accept_mimetypes
    return max(accept.quality(name) for name in _IMAGE_TYPES) > accept.quality("application/json")


def _accepted_format() -> str | None:
    """Return the format of an exact `Accept: image/png` (webp, jpeg), None when any will do."""
    for name, _ in request.accept_mimetypes:
        if name in _IMAGE_TYPES:
            return _IMAGE_TYPES[name]
    return None


def _answer(result: EditResult, warnings: tuple[str, ...], address: str | None) -> dict[str, object]:
    return {
        "image_base64": base64.b64encode(result.image).decode("ascii"),
        **({} if address is None else {"address": address}),
        **described(result, warnings),
    }


def described(result: EditResult, warnings: tuple[str, ...]) -> dict[str, object]:
    """Return what is told of a result besides the picture itself."""
    return {
        "media_type": result.media_type,
        "width": result.width,
        "height": result.height,
        **how(result),
        "model": result.model,
        "version": result.version,
        "seconds": dict(result.seconds),
        **({} if result.route is None else {"route": result.route.to_json()}),
        "warnings": list(warnings),
    }


def how(result: EditResult) -> dict[str, object]:
    """Return what repeats an edit: its plan, or the seed of a model that paints, None where a provider drew it."""
    return {"seed": result.seed} if result.plan is None else {"plan": result.plan.to_json()}


def _image(result: EditResult, warnings: tuple[str, ...], address: str | None) -> Response:
    response = Response(result.image, mimetype=result.media_type)
    response.headers["X-Model"] = result.model
    response.headers["X-Version"] = result.version
    for name, value in how(result).items():
        response.headers[f"X-{name.title()}"] = json.dumps(value)
    if result.route is not None:
        response.headers["X-Route"] = json.dumps(result.route.to_json())
    if address is not None:
        response.headers["X-Address"] = address
    if warnings:
        response.headers["X-Warnings"] = json.dumps(warnings)
    return response
