"""What makes two requests the same: the SHA-256 of what was sent, whatever boundary its form has this time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

from flask import Request

from edge_runtime.errors import InputError
from server.inputs import FORM_TYPES

_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")
_HEADERS: Final = ("Accept", "Prefer")
_CHUNK_BYTES: Final = 1 << 20


def fingerprint(request: Request) -> bytes:
    """Return 32 bytes; the request can still be read afterwards."""
    digest = hashlib.sha256()
    for part in _parts(request):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def idempotency_key(request: Request) -> str | None:
    """Return the Idempotency-Key, with or without the quotes of a structured field; raises InputError."""
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    key = given[1:-1] if len(given) > 1 and given[0] == given[-1] == '"' else given
    if not _KEY.fullmatch(key):
        raise InputError("this is no Idempotency-Key", got=given, allowed="1 to 255 printable characters")
    return key


def _parts(request: Request) -> Iterator[bytes]:
    yield request.path.encode()
    for name in _HEADERS:
        yield request.headers.get(name, "").encode()
    if request.mimetype not in FORM_TYPES:
        yield request.get_data()
        return
    for name, values in sorted(request.form.lists(), key=_name):
        yield from (part.encode() for part in (name or "", *values))
    for name, files in sorted(request.files.lists(), key=_name):
        yield (name or "").encode()
        for file in files:
            content = hashlib.sha256()
            while chunk := file.stream.read(_CHUNK_BYTES):
                content.update(chunk)
            file.stream.seek(0)
            yield content.digest()


def _name(entry: tuple[str | None, object]) -> str:
    """Return the name of a form's part; "" for none, as of one whose header can't be read."""
    return entry[0] or ""
