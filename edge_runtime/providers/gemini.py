"""Google's Gemini API, `models/<model>:generateContent`: the hosted Nano Banana. One call, pictures in the JSON.

There are no masks: a picture is changed by words alone. A refusal comes with status 200, as `promptFeedback` without
candidates or as a candidate that finished for reasons of safety.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

from edge_runtime import outgoing
from edge_runtime.exchange import Exchange
from edge_runtime.images import Decode
from edge_runtime.provider import Accepts, ProviderSettings, RemotePicture
from edge_runtime.request import EditRequest

_MODERATED: Final = (
    "SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION",
    "IMAGE_RECITATION",
)  # fmt: skip


class Gemini:
    """`base_url` is https://generativelanguage.googleapis.com/v1beta, `model` such as gemini-2.5-flash-image."""

    options: Mapping[str, tuple[str, ...]] = {}
    key_hosts: tuple[str, ...] = ()

    def headers(self, key: str) -> Mapping[str, str]:
        """Return the key's header."""
        return {"x-goog-api-key": key} if key else {}

    def accepts(self, settings: ProviderSettings) -> Accepts:
        """Return what it takes."""
        return Accepts(pictures=3, fields=frozenset({"seed"}))

    def edit(self, request: EditRequest, settings: ProviderSettings, exchange: Exchange) -> RemotePicture:
        """Ask, and take the first picture among the parts of the answer."""
        url = settings.url(f"models/{settings.model}:generateContent")
        answer = exchange.submit(url, _body(request, exchange.decode))
        try:
            encoded = next(_pictures(answer), None)
            if encoded is None:
                reason = _reason(answer)
                raise exchange.refused(reason) if reason in _MODERATED else exchange.failed(f"no picture ({reason})")
            data = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise exchange.failed("a picture whose base64 is damaged") from error
        except (LookupError, TypeError, AttributeError) as error:
            raise exchange.failed("an answer of another form than documented") from error
        return RemotePicture(data=data, model=settings.model, version=str(answer.get("modelVersion", "")))


def _body(request: EditRequest, decode: Decode) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": request.instruction or ""}]
    for one in outgoing.pictures(request, decode):
        parts.append({"inlineData": {"mimeType": one.media_type, "data": one.base64}})
    generation: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
    if request.seed is not None:
        generation["seed"] = request.seed % 2**31
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": generation}


def _pictures(answer: Any) -> Iterator[str]:
    for candidate in answer.get("candidates", ()):
        for part in candidate.get("content", {}).get("parts", ()):
            if "inlineData" in part:
                yield str(part["inlineData"]["data"])


def _reason(answer: Any) -> str:
    blocked = answer.get("promptFeedback", {}).get("blockReason")
    reasons = (candidate.get("finishReason") for candidate in answer.get("candidates", ()))
    return str(blocked or next(filter(None, reasons), "no reason given"))


PROVIDER = Gemini()
