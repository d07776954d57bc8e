"""The five protocols as their owners document them: what they demand of a request, and how they answer.

The picture that comes back is the one sent with its colours inverted, so a test sees that it made the journey.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image, ImageOps
from werkzeug.formparser import parse_form_data

from tests.providers.origin import Asked, Origin, Reply

KEY = "sk-secret-4711"
MODERATED = "forbidden words"
"""An instruction that every provider here refuses, each in its own way."""


@dataclass(frozen=True)
class Protocol:
    """How a provider is configured, and what its server does."""

    kind: str
    model: str
    answer: Callable[[Origin, Asked], Reply]
    path: str = "/v1"
    options: Mapping[str, str] = field(default_factory=dict)


def inverted(data: bytes) -> bytes:
    stream = BytesIO()
    with Image.open(BytesIO(data)) as picture:
        assert not picture.getexif(), "metadata left the machine"
        ImageOps.invert(picture.convert("RGB")).save(stream, "PNG")
    return stream.getvalue()


def from_data_url(url: str) -> bytes:
    head, _, payload = url.partition(",")
    assert head.startswith("data:image/") and head.endswith(";base64")
    return base64.b64decode(payload, validate=True)


def given_key(asked: Asked) -> str:
    """The key that was sent: error answers like to repeat it."""
    headers = asked.headers
    return headers.get("x-key") or headers.get("x-goog-api-key") or headers["authorization"].removeprefix("Bearer ")


def form_of(asked: Asked) -> tuple[dict[str, list[str]], dict[str, list[bytes]]]:
    environ = {
        "REQUEST_METHOD": "POST", "wsgi.input": BytesIO(asked.body), "CONTENT_LENGTH": str(len(asked.body)),
        "CONTENT_TYPE": asked.headers["content-type"],
    }
    _, form, files = parse_form_data(environ)
    found = {name: [part.read() for part in parts] for name, parts in files.lists()}
    for _, part in files.items(multi=True):
        part.close()
    return dict(form.lists()), found


def openai(server: Origin, asked: Asked) -> Reply:
    if asked.headers.get("authorization") != f"Bearer {KEY}":
        told = f"Incorrect API key provided: {given_key(asked)}"
        return Reply(401, {"error": {"message": told, "code": "invalid_api_key"}})
    form, files = form_of(asked)
    if asked.path != "/v1/images/edits" or not form.get("model") or not (files.get("image") or files.get("image[]")):
        return Reply(400, {"error": {"message": "image and model are required", "code": "missing"}})
    if form["prompt"] == [MODERATED]:
        return Reply(400, {"error": {"message": "rejected by the safety system", "code": "moderation_blocked"}})
    picture = inverted((files.get("image") or files["image[]"])[0])
    return Reply(body={"created": 1, "data": [{"b64_json": base64.b64encode(picture).decode()}]})


def bfl(server: Origin, asked: Asked) -> Reply:
    if asked.path.startswith("/delivery/"):  # a signed link: no key goes there
        assert "x-key" not in asked.headers
        return Reply(body=inverted(server.jobs[asked.path.rpartition("/")[2]]), headers={"Content-Type": "image/png"})
    if asked.headers.get("x-key") != KEY:
        return Reply(403, {"detail": f"Not authenticated - Invalid key {given_key(asked)}"})
    if asked.method == "POST":
        if asked.path != "/v1/flux-kontext-pro" or not asked.json.get("prompt"):
            return Reply(422, {"detail": [{"loc": ["body", "prompt"], "msg": "field required"}]})
        name = f"job{len(server.jobs)}"
        server.jobs[name] = base64.b64decode(asked.json["input_image"], validate=True)
        server.jobs[f"{name}.state"] = [
            {"id": name, "status": "Pending", "result": None},
            {"id": name, "status": "Request Moderated", "result": None} if asked.json["prompt"] == MODERATED
            else {"id": name, "status": "Ready", "result": {"sample": f"{server.url}/delivery/{name}"}},
        ]  # fmt: skip
        return Reply(body={"id": name, "polling_url": f"{server.url}/v1/get_result?id={name}"})
    states: list[Any] = server.jobs[f"{asked.path.rpartition('=')[2]}.state"]
    return Reply(body=states.pop(0) if len(states) > 1 else states[0])


def dashscope(server: Origin, asked: Asked) -> Reply:
    if asked.path.startswith("/result/"):
        return Reply(body=inverted(server.jobs["picture"]))
    if asked.headers.get("authorization") != f"Bearer {KEY}":
        return Reply(401, {"code": "InvalidApiKey", "message": f"Invalid API-key {given_key(asked)}"})
    content = asked.json["input"]["messages"][0]["content"]
    if content[-1]["text"] == MODERATED:
        told = {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}
        return Reply(400, told)
    server.jobs["picture"] = from_data_url(content[0]["image"])
    message = {"role": "assistant", "content": [{"image": f"{server.url}/result/a.png?Expires=1"}]}
    return Reply(body={"output": {"choices": [{"finish_reason": "stop", "message": message}]}, "request_id": "r"})


def gemini(server: Origin, asked: Asked) -> Reply:
    if asked.headers.get("x-goog-api-key") != KEY:
        told = f"API key {given_key(asked)} not valid"
        return Reply(403, {"error": {"code": 403, "message": told, "status": "PERMISSION_DENIED"}})
    if asked.path != "/v1beta/models/gemini-2.5-flash-image:generateContent":
        return Reply(404, {"error": {"code": 404, "message": "model not found", "status": "NOT_FOUND"}})
    text, picture = asked.json["contents"][0]["parts"][:2]
    if text["text"] == MODERATED:
        return Reply(body={"candidates": [{"finishReason": "IMAGE_SAFETY", "content": {}}]})
    data = base64.b64encode(inverted(base64.b64decode(picture["inlineData"]["data"], validate=True))).decode()
    parts = [{"text": "Here it is."}, {"inlineData": {"mimeType": "image/png", "data": data}}]
    candidate = {"content": {"parts": parts}, "finishReason": "STOP"}
    return Reply(body={"candidates": [candidate], "modelVersion": "gemini-2.5-flash-image-002"})


def replicate(server: Origin, asked: Asked) -> Reply:
    if asked.path.startswith("/files/"):
        return Reply(body=inverted(server.jobs["picture"]))
    if asked.headers.get("authorization") != f"Bearer {KEY}":
        return Reply(401, {"title": "Unauthenticated", "detail": f"{given_key(asked)} is no token", "status": 401})
    prediction: dict[str, Any] = {
        "id": "p", "version": "v1", "status": "processing", "output": None, "error": None,
        "urls": {"get": f"{server.url}/v1/predictions/p", "cancel": f"{server.url}/v1/predictions/p/cancel"},
    }
    if asked.path.endswith("/cancel"):
        return Reply(body={**prediction, "status": "canceled"})
    if asked.method == "POST":
        given = asked.json["input"]
        server.jobs |= {"picture": from_data_url(given["input_image"]), "prompt": given["prompt"]}
        return Reply(201, prediction)
    if server.jobs["prompt"] == "never ends":
        return Reply(body=prediction)
    if server.jobs["prompt"] == MODERATED:
        return Reply(body={**prediction, "status": "failed", "error": "The input was flagged as sensitive. (E005)"})
    return Reply(body={**prediction, "status": "succeeded", "output": [f"{server.url}/files/out.png"]})


PROTOCOLS = {
    "openai": Protocol("openai-compatible", "qwen-image-edit", openai),
    "bfl": Protocol("bfl", "flux-kontext-pro", bfl),
    "dashscope": Protocol("dashscope", "qwen-image-edit-plus", dashscope, "/api/v1"),
    "gemini": Protocol("gemini", "gemini-2.5-flash-image", gemini, "/v1beta"),
    "replicate": Protocol("replicate", "owner/editor", replicate, options={"mask": "mask"}),
}
