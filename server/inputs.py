"""Members of a request, from a form or a JSON object, read by name and checked. What nobody read is a warning.

Images from URLs go through `edge_runtime.fetch`, which refuses addresses inside the network.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from flask import Request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import UnsupportedMediaType

from edge_runtime.errors import ImageError, InputError, OptionError, PlanError
from edge_runtime.request import AUTO, HOPS_HEADER, Fallback

FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")
_MAX_NAMED = 20
_Number = TypeVar("_Number", int, float)


class Fields:
    """The members of one request. Reading a member marks it as known."""

    def __init__(
        self, values: Mapping[str, object], files: Mapping[str, Sequence[FileStorage]], hops: int = 0
    ) -> None:
        self._values = values
        self._files = files
        self._hops = hops
        self._known: set[str] = set()

    @classmethod
    def of(cls, request: Request, *types: str) -> Fields:
        """Read the body as one of the media types `types`; raises UnsupportedMediaType (415) or InputError."""
        if request.mimetype not in types:
            raise UnsupportedMediaType(
                f"The body has the wrong type. Got {request.mimetype[:80] or 'none'}. Allowed: {', '.join(types)}."
            )
        if request.mimetype == "application/json":
            data = parse_json(request.get_data(), "body")
            if not isinstance(data, dict):
                raise InputError("the body must be a JSON object", got=type(data).__name__)
            return cls({name: value for name, value in data.items() if value is not None}, {}, _hops(request))
        # A part whose header can't be read has no name.
        files = {name or "": parts for name, parts in request.files.lists()}
        return cls({name or "": _one_or_all(values) for name, values in request.form.lists()}, files, _hops(request))

    def get(self, *names: str) -> object:
        """Return the first of the members `names` that is there, or None."""
        self._known.update(names)
        return next((self._values[name] for name in names if name in self._values), None)

    def text(self, name: str) -> str | None:
        """Return a text member, or None; raises OptionError for another type."""
        value = self.get(name)
        if value is not None and not isinstance(value, str):
            raise OptionError(f"{name} must be text", got=value, param=name)
        return value

    def integer(self, name: str, default: int) -> int:
        """Return a whole number, which a form sends as text; raises OptionError."""
        value = self.get(name)
        if value is None or value == "":
            return default
        try:
            return int(str(value))  # through text, so that 1.5 and true are refused like "1.5" and "true"
        except ValueError as error:
            raise OptionError(f"{name} must be a whole number", got=value, param=name) from error

    def flag(self, name: str) -> bool:
        """Return true for `true`, false for `false`, empty or absent; raises OptionError."""
        value = str(self.get(name) or "false").lower()
        if value not in ("true", "false"):
            raise OptionError(f"{name} must be true or false", got=value, param=name)
        return value == "true"

    def files(self, *names: str) -> list[FileStorage]:
        """Return the uploaded parts called any of `names`."""
        self._known.update(names)
        return [part for name in names for part in self._files.get(name, ())]

    def refuse_text(self, name: str) -> None:
        """Raise OptionError for a member that must be a file and came as text."""
        if self._values.get(name):
            raise OptionError(f"the {name} must be a file", got="text", hint="send it as a file part", param=name)

    def plan(self) -> Mapping[str, object] | None:
        """Return the member `plan`: an object, or text that holds one as JSON. Its members are not checked here."""
        value = self.get("plan")
        if isinstance(value, str):
            value = parse_json(value, "plan")
        if value is not None and not isinstance(value, Mapping):
            raise PlanError(
                "a plan must be an object",
                got=value,
                hint='for example {"edits": [{"adjust": "warmth", "amount": 0.4, "region": "all"}]}',
                param="plan",
            )
        return value

    def warnings(self) -> tuple[str, ...]:
        """Name the members that nobody asked for."""
        unknown = sorted({*self._values, *self._files} - self._known)
        return tuple(f"unknown field ignored: {name[:80]}" for name in unknown[:_MAX_NAMED])

    def model(self, default: str) -> str:
        """Return the model; whichever suits, of a request that may leave this machine and names none."""
        leaves = (self.text("fallback") or Fallback.NEVER.value) != Fallback.NEVER.value
        return self.text("model") or (AUTO if leaves else default)

    def placing(self) -> dict[str, Any]:
        """Return the members that say where the edit may be done, as EditRequest names them; raises OptionError."""
        fallback, milliseconds = self.text("fallback"), self._number(int, "deadline_ms")
        return {
            "fallback": Fallback.parse(fallback) if fallback else None,
            "deadline_seconds": None if milliseconds is None else milliseconds / 1000,
            "max_cost_usd": self._number(float, "max_cost_usd"),
            "hops": self._hops,
        }

    def finishing(self) -> dict[str, Any]:
        """Return the members that say how the picture is finished, as EditRequest names them; raises OptionError."""
        return {"sharpen": self._number(float, "sharpen") or 0.0, "profile": self.text("profile") or "none"}

    def painting(self, paints: bool) -> dict[str, Any]:
        """Return the members for models that paint, as EditRequest names them; raises OptionError.

        Both names of a member are read: those of diffusers' pipelines, and the command's. For a model that doesn't
        paint they are checked too, but count as ignored.
        """
        known = set(self._known)
        steps, seed = (self._number(int, *names) for names in (("num_inference_steps", "steps"), ("seed",)))
        strengths = {
            "": self._number(float, "guidance_scale", "true_cfg_scale", "guidance"),
            "image": self._number(float, "image_guidance_scale"),
        }
        negative = self.text("negative_prompt")
        if not paints:
            self._known = known
            return {}
        return {
            "steps": steps, "seed": seed, "negative": negative,
            "guidance": {name: strength for name, strength in strengths.items() if strength is not None},
        }

    def _number(self, kind: type[_Number], *names: str) -> _Number | None:
        """Return a number, which a form sends as text, or None; raises OptionError."""
        value = self.get(*names)
        if value is None or value == "":
            return None
        try:
            if isinstance(value, bool):
                raise ValueError
            return kind(str(value))
        except ValueError as error:
            what = "a whole number" if kind is int else "a number"
            raise OptionError(f"{names[0]} must be {what}", got=value, param=names[0]) from error


def _hops(request: Request) -> int:
    """Return how many nodes passed a request on; raises OptionError for a header that doesn't say."""
    text = request.headers.get(HOPS_HEADER, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 4):
        raise OptionError(f"the header {HOPS_HEADER} is not usable", got=text, allowed="a number from 0 to 999")
    return int(text)


def parse_json(text: str | bytes, name: str) -> object:
    """Parse JSON of a stranger; raises InputError, also for brackets nested until Python gives up."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        param = None if name == "body" else name
        raise InputError(f"the {name} is not JSON", hint=str(error), code="bad_json", param=param) from error


def _one_or_all(values: list[str]) -> object:
    """Keep a member that was sent twice as a list: reading it as text then fails with a message."""
    return values[0] if len(values) == 1 else values


def upload(part: FileStorage, param: str) -> bytes:
    """Return the bytes of an uploaded part; raises ImageError for an empty one."""
    data = part.stream.read()
    if not data:
        raise ImageError("the image is empty", got="0 bytes", hint="send the photo's bytes", param=param)
    return data


def from_base64(text: str, param: str) -> bytes:
    """Decode plain base64 or a `data:` URL; raises ImageError."""
    payload = text.partition(",")[2] if text.startswith("data:") else text
    try:
        data = base64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError("the image is not valid base64", got=text[:40], param=param) from error
    if not data:
        raise ImageError("the image is empty", got="0 bytes", hint="send the photo as base64", param=param)
    return data


def mask(fields: Fields) -> bytes | None:
    """Return the mask, a file or base64, if there is one."""
    fields.refuse_text("mask")
    parts, text = fields.files("mask"), fields.text("mask_base64")
    if (given := len(parts) + (text is not None)) > 1:
        raise ImageError(
            "give at most one mask", got=f"{given} masks", allowed="mask (a file) or mask_base64", param="mask"
        )
    if text is not None:
        return from_base64(text, "mask_base64")
    return upload(parts[0], "mask") if parts else None


def from_url(url: str) -> bytes:
    """Fetch an image, or decode a `data:` URL; raises UrlError for a forbidden or unreachable address."""
    # Imported here: most servers never fetch, and the HTTP client costs a tenth of the start.
    from edge_runtime.fetch import data_url_bytes, fetch_image
    from edge_runtime.limits import Limits

    limits = Limits()
    return data_url_bytes(url, limits) if url[:5].lower() == "data:" else fetch_image(url, limits)
