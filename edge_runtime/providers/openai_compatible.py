"""`POST images/edits` of OpenAI's API: another nanoedge, vLLM-Omni, SGLang Diffusion, sd.cpp's server, OpenAI itself.

Masks go out by the option `mask`: `white` on black where the edit belongs, as part `mask_image` (vLLM-Omni) and `mask`
(SGLang, sd.cpp), or `transparent` there, as part `mask` (OpenAI, nanoedge). `extensions: "no"` leaves out what OpenAI
itself doesn't know: seed, steps, guidance, negative prompt. `idempotency: "yes"` says that the server runs a request
once that comes twice under one Idempotency-Key, as another nanoedge does: then a job may ask again after a crash. A
header counts how often a request was passed on, so that two nodes that name each other as central don't send it to and
fro.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urljoin

from edge_runtime import outgoing
from edge_runtime.exchange import Exchange, Form
from edge_runtime.images import Decode
from edge_runtime.provider import Accepts, ProviderSettings, RemotePicture
from edge_runtime.request import HOPS_HEADER, MAX_REFERENCES, EditRequest

_FORMATS: Final = ("png", "jpeg", "webp")
_GUIDANCE: Final = {"": ("guidance_scale", "true_cfg_scale"), "image": ("image_guidance_scale",)}
_THERE: Final = 0.9
"""Of the time that is left, what the server may take; the rest is for the way back."""


class OpenAICompatible:
    """Answers with the picture in base64, or with a link to it."""

    options: Mapping[str, tuple[str, ...]] = {
        "mask": ("transparent", "white"), "extensions": ("yes", "no"), "idempotency": ("no", "yes"),
    }
    key_hosts: tuple[str, ...] = ()

    def headers(self, key: str) -> Mapping[str, str]:
        """Return the bearer token."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def accepts(self, settings: ProviderSettings) -> Accepts:
        """Return what it takes."""
        extensions = settings.options["extensions"] != "no"
        fields = {"seed", "steps", "guidance", "negative"} if extensions else set()
        return Accepts(
            pictures=1 + MAX_REFERENCES, masks=True, fields=frozenset(fields),
            repeats=settings.options.get("idempotency") == "yes",
        )

    def edit(self, request: EditRequest, settings: ProviderSettings, exchange: Exchange) -> RemotePicture:
        """Post the form and read the first picture of the answer."""
        hops = {HOPS_HEADER: str(request.hops + 1)}
        form = _form(request, settings, exchange)
        answer = exchange.submit_form(settings.url("images/edits"), form, hops)
        try:
            first = answer["data"][0]
            if first.get("b64_json"):
                data = base64.b64decode(first["b64_json"], validate=True)
            else:
                data = exchange.picture(urljoin(settings.url("images/edits"), first["url"]))
        except binascii.Error as error:
            raise exchange.failed("a picture whose base64 is damaged") from error
        except (LookupError, TypeError, AttributeError) as error:
            raise exchange.failed("an answer without a picture") from error
        return RemotePicture(
            data=data, model=str(answer.get("x_model") or answer.get("model") or settings.model),
            version=str(answer.get("x_version") or ""), warnings=_warnings(answer),
        )


def _form(request: EditRequest, settings: ProviderSettings, exchange: Exchange) -> Form:
    photo, *others = outgoing.pictures(request, exchange.decode)
    part = "image[]" if others else "image"
    form: Form = [(part, (one.filename, one.data, one.media_type)) for one in (photo, *others)]
    form += _mask(request, settings, photo, exchange.decode)
    form += [
        ("prompt", request.instruction or ""), ("model", settings.model), ("n", "1"),
        ("response_format", "b64_json"),
    ]  # fmt: skip
    if request.output_format in _FORMATS:
        form.append(("output_format", request.output_format))
    if settings.options["extensions"] == "no":
        return [*form, ("size", "auto")]  # OpenAI has few sizes, and auto keeps the photo's proportions
    return [*form, ("size", f"{photo.width}x{photo.height}" if request.size else "auto"),
            *_extensions(request, exchange.left_seconds)]  # fmt: skip


def _mask(
    request: EditRequest, settings: ProviderSettings, photo: outgoing.Picture, decode: Decode
) -> Form:
    white = settings.options["mask"] == "white"
    mask = (outgoing.white_mask if white else outgoing.clear_mask)(request, photo, decode)
    if mask is None:
        return []
    file = ("mask.png", mask.data, mask.media_type)
    return [("mask", file), ("mask_image", file)] if white else [("mask", file)]


def _extensions(request: EditRequest, left_seconds: float) -> Form:
    given: dict[str, Any] = {
        "seed": request.seed, "num_inference_steps": request.steps, "negative_prompt": request.negative,
    }
    if request.deadline_seconds is not None:  # another nanoedge refuses at once what it can't do in time
        given["deadline_ms"] = max(1, round(1000 * _THERE * left_seconds))
    for name, strength in request.guidance.items():
        given |= dict.fromkeys(_GUIDANCE.get(name, ()), strength)
    return [(name, str(value)) for name, value in given.items() if value is not None]


def _warnings(answer: Any) -> tuple[str, ...]:
    told = answer.get("warnings")
    return tuple(str(line)[:200] for line in told[:20]) if isinstance(told, list) else ()


PROVIDER = OpenAICompatible()
