"""One edit over HTTP, as a client of a node sends it: a form to `POST /edit`, a new connection each time."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from urllib3 import encode_multipart_formdata

from edge_runtime.errors import OptionError

_TIMEOUT_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: `code` is the node's word for an error, `retry_seconds` its Retry-After."""

    status: int
    code: str = ""
    retry_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A node. `secure` connections check the certificate by the system's authorities."""

    host: str
    port: int
    prefix: str
    secure: bool

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read http://host:port/prefix or https; raises OptionError."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OptionError("the node's address is not usable", got=url, allowed="http:// or https://", param="url")
        secure = parts.scheme == "https"
        return cls(
            host=parts.hostname, port=port or (443 if secure else 80), prefix=parts.path.rstrip("/"), secure=secure
        )

    def connection(self) -> http.client.HTTPConnection:
        """Return a new connection, not opened yet."""
        if self.secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self.host, self.port, timeout=_TIMEOUT_SECONDS, context=context)
        return http.client.HTTPConnection(self.host, self.port, timeout=_TIMEOUT_SECONDS)


def edit(address: Address, photo: bytes, instruction: str, model: str, key: str | None) -> Answer:
    """Ask for an edit and read all of the answer; status 0 when there was none."""
    body, headers = form(photo, instructions=instruction, model=model, output_format="jpeg")
    if key:
        headers["Authorization"] = f"Bearer {key}"
    connection = address.connection()
    try:
        connection.request("POST", f"{address.prefix}/edit", body, {**headers, "Accept": "image/jpeg"})
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return Answer(status=0, code=type(error).__name__)
    finally:
        connection.close()
    if answer.status == http.client.OK:
        return Answer(status=answer.status)
    return Answer(status=answer.status, code=_code(content), retry_seconds=_seconds(answer.headers.get("Retry-After")))


def reach(address: Address) -> None:
    """Raise OptionError unless a node answers there, and is well."""
    connection = address.connection()
    try:
        connection.request("GET", f"{address.prefix}/healthz")
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise OptionError(
            "the node can't be reached",
            got=f"{address.host}:{address.port} ({error})",
            hint="is it running?",
            param="url",
        ) from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise OptionError("this is no node, or it is ill", got=f"GET /healthz answered {answer.status}", param="url")


def form(photo: bytes, **fields: str) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a form with a photo."""
    body, content_type = encode_multipart_formdata({**fields, "image": ("photo", photo)})
    return body, {"Content-Type": content_type}


def _code(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isdigit() else 0.0
