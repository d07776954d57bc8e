"""`POST /v1/images/edits` for clients of OpenAI's API: `client.images.edit(...)` works unchanged.

Several images go to models that take several. What can't be done here (several results) is refused with a
message; options without a meaning here are ignored with a warning in the answer. `size` is a box that the result fits
into.
"""

from __future__ import annotations

import base64
import math
import time
from contextlib import ExitStack
from typing import cast

from flask import Blueprint, Response, g, jsonify, request

from edge_runtime.errors import ImageError, InstructionError, OptionError
from edge_runtime.request import EditRequest, EditResult, Size
from server.edits import how
from server.events import EventStream
from server.inputs import FORM_TYPES, Fields, from_url, mask, upload
from server.node import current_node
from server.repeats import once
from server.shelf import Shelf, current_shelf

blueprint = Blueprint("openai", __name__)

_SILENT = ("user",)
MAX_PREVIEWS = 3
_WITHOUT_MEANING = ("quality", "background", "input_fidelity", "moderation")
_PATCH_PIXELS = 32
_FORMS = ("b64_json", "url")


@blueprint.post("/v1/images/edits")
@once
def edit() -> Response:
    """Edit a photo; answers the images object of OpenAI's API with our extras, or its events."""
    node = current_node()
    with ExitStack() as held:
        admission = held.enter_context(node.admission())
        fields = Fields.of(request, *FORM_TYPES)
        wanted = _edit_request(fields)
        previews = _previews(fields)
        if not fields.flag("stream"):
            return jsonify(answer(node.edited(wanted, admission, admission.abandoned), fields, current_shelf()))
        route = node.route(wanted)  # what can't be done at all is refused before the first event
        stream = EventStream(
            node=node, admission=admission, wanted=wanted, route=route, previews=previews, began=g.began
        )
        shelf = current_shelf()
        # The place goes along with the answer: it is free again when that is sent, or the client has left.
        return stream.response(lambda result: answer(result, fields, shelf), held.pop_all().close)


def _edit_request(fields: Fields) -> EditRequest:
    _refuse_the_impossible(fields)
    service = current_node().service
    model = fields.model(service.default_model)
    abilities = service.abilities(model)
    photo, *others = _photos(fields, 1 if abilities is None else abilities.pictures)
    return EditRequest(
        image=photo,
        references=tuple(others),
        mask=mask(fields),
        instruction=_prompt(fields),
        plan=fields.plan(),
        model=model,
        size=Size.parse(fields.text("size") or "auto"),
        output_format=fields.text("output_format") or None,
        # OpenAI counts from 0, our encoders from 1.
        quality=max(1, _compression(fields)),
        **fields.placing(),
        **fields.finishing(),
        **fields.painting(abilities is not None),
    )


def _refuse_the_impossible(fields: Fields) -> None:
    if (count := fields.integer("n", 1)) != 1:
        raise OptionError("only one result is made", got=f"n={count}", allowed="n=1", param="n")
    if (form := fields.text("response_format") or "b64_json") not in _FORMS:
        raise OptionError(
            "results have no such form", got=f"response_format={form}", allowed=", ".join(_FORMS),
            param="response_format",
        )
    current_shelf().check(fields)


def _previews(fields: Fields) -> int:
    count = fields.integer("partial_images", 0)
    if not 0 <= count <= MAX_PREVIEWS:
        raise OptionError(
            "partial_images is out of range", got=count, allowed=f"0 to {MAX_PREVIEWS}", param="partial_images"
        )
    return count


def _compression(fields: Fields) -> int:
    value = fields.integer("output_compression", 90)
    if not 0 <= value <= 100:
        raise OptionError(
            "output_compression is out of range", got=value, allowed="0 to 100", param="output_compression"
        )
    return value


def _prompt(fields: Fields) -> str | None:
    prompt = fields.text("prompt")
    if prompt is None and fields.get("plan") is None:
        raise InstructionError("the prompt is missing", hint="send 'prompt', or a 'plan' as JSON", param="prompt")
    # The client can't leave the prompt out, so an empty one beside a plan counts as none.
    return None if not prompt and fields.get("plan") is not None else prompt


def _photos(fields: Fields, most: int) -> list[bytes]:
    """Return the photo, and further pictures for models that take several."""
    parts, sent = fields.files("image", "image[]"), fields.get("url", "url[]")
    urls = [sent] if isinstance(sent, str) else cast("list[str]", sent or [])
    parent = fields.text("parent")
    earlier = [] if parent is None else [current_shelf().get(parent)]
    given = len(earlier) + len(parts) + len(urls)
    if given > most:
        raise ImageError(
            "one photo is edited at a time" if most == 1 else "too many images for this model", got=f"{given} images",
            allowed="one" if most == 1 else f"at most {most}", code="too_many_images", param="image",
        )
    if not given:
        raise ImageError(
            "the image is missing",
            hint="send the photo as the file part 'image', its address as 'url', or an earlier result's as 'parent'",
            code="missing_image", param="image",
        )
    return [*earlier, *(upload(part, "image") for part in parts), *map(from_url, urls)]


def answer(result: EditResult, fields: Fields, shelf: Shelf) -> dict[str, object]:
    """Return the images object of OpenAI's API; what is answered as a link is stored, or the picture itself given."""
    linked = fields.text("response_format") == "url"
    put, unstored = shelf.put(result) if linked else shelf.put_if_wanted(result, fields)
    return {
        "created": int(time.time()),
        "data": [
            {"url": shelf.link(put)} if linked and put
            else {"b64_json": base64.b64encode(result.image).decode("ascii")}
        ],
        **({} if put is None else {"x_address": put}),
        "size": f"{result.width}x{result.height}",
        "output_format": result.media_type.removeprefix("image/"),
        "usage": _usage(result, fields),
        **how(result),
        "x_model": result.model,
        "x_version": result.version,
        "x_seconds": dict(result.seconds),
        **({} if result.route is None else {"x_route": result.route.to_json()}),
        "warnings": [*result.warnings, *_ignored(fields), *fields.warnings(), *unstored],
    }


def _ignored(fields: Fields) -> list[str]:
    for name in _SILENT:
        fields.get(name)
    return [f"{name} has no effect here" for name in _WITHOUT_MEANING if fields.get(name) not in (None, "", "auto")]


def _usage(result: EditResult, fields: Fields) -> dict[str, object]:
    """Return the work done, for clients that add it up: the text model reads bytes, images count 32 x 32 patches."""
    text = len((fields.text("prompt") or "").encode())
    patches = math.ceil(result.width / _PATCH_PIXELS) * math.ceil(result.height / _PATCH_PIXELS)
    return {
        "input_tokens": text + patches,
        "input_tokens_details": {"text_tokens": text, "image_tokens": patches},
        "output_tokens": patches,
        "total_tokens": text + 2 * patches,
    }
