"""HTTP for files of any size, with servers that the operator named: streamed, and over TLS unless said otherwise.

Unlike `fetch`, which guards against addresses that strangers send, any address is allowed here: a registry on the local
network is the rule. Credentials never follow a redirect to another host, and no redirect leads from TLS out of it.
"""

from __future__ import annotations

import http.client
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import IO, Final
from urllib.parse import urljoin, urlsplit

from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from edge_runtime.errors import OptionError, SourceError
from edge_runtime.source import BrokenOffError

CHUNK_BYTES: Final = 256 * 1024
_TIMEOUT: Final = Timeout(connect=10.0, read=60.0)
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MAX_REDIRECTS: Final = 5
_TEMPORARY: Final = (408, 429, 500, 502, 503, 504)
_NETWORK_ERRORS: Final = (OSError, HTTPError, http.client.HTTPException)
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_PRIVATE: Final = "authorization"


class Transfer:
    """Connections that are kept. `plain_http` allows addresses without TLS."""

    def __init__(self, *, plain_http: bool) -> None:
        self._plain = plain_http
        self._pool = PoolManager(maxsize=2, timeout=_TIMEOUT, retries=False)

    @contextmanager
    def ask(
        self, method: str, url: str, headers: Mapping[str, str] = _NO_HEADERS, body: bytes | IO[bytes] | None = None
    ) -> Iterator[BaseHTTPResponse]:
        """Yield the answer, its body unread, behind redirects of GET and HEAD.

        Raises BrokenOffError when there is none, or when the connection is lost in the block.
        """
        host = urlsplit(url).netloc
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                self._check(url)
                answer = self._pool.request(
                    method, url, body=body, preload_content=False, decode_content=False, redirect=False,
                    headers={"User-Agent": "nanoedge", "Accept-Encoding": "identity", **headers},
                )  # fmt: skip
                if answer.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                    break
                answer.drain_conn()
                url = self._next(url, answer.headers.get("Location", ""))
                if urlsplit(url).netloc != host:
                    headers = {name: value for name, value in headers.items() if name.lower() != _PRIVATE}
            else:
                raise SourceError(f"the server {host} redirects more than {_MAX_REDIRECTS} times")
            try:
                yield answer
            finally:
                if method != "GET":  # a short one: the connection is used again
                    answer.drain_conn()
                answer.close()
        except _NETWORK_ERRORS as error:
            hint = "it may have no TLS: then say --plain-http" if "WRONG_VERSION_NUMBER" in str(error) else ""
            what = f"the server {host} can't be reached, or broke off"
            raise BrokenOffError(what, got=_words(error), hint=hint) from error

    def read(self, url: str, max_bytes: int, headers: Mapping[str, str] = _NO_HEADERS) -> bytes | None:
        """Return a small file, None when there is none (404); raises SourceError."""
        with self.ask("GET", url, headers) as answer:
            if answer.status == 404:
                return None
            require(answer, url, 200)
            return whole(answer, max_bytes)

    def stream(self, url: str, offset: int, headers: Mapping[str, str] = _NO_HEADERS) -> Generator[bytes, None, None]:
        """Yield a file's bytes from `offset` on, by a Range where the server knows them; raises SourceError."""
        with self.ask("GET", url, {**headers, **from_offset(offset)}) as answer:
            yield from streamed(answer, url, offset)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise OptionError("an address with a user name or password is not accepted", got=parts.hostname)
        if parts.scheme == "https" or (parts.scheme == "http" and self._plain):
            return
        if parts.scheme == "http":
            raise OptionError(
                "this address has no TLS, so anybody on the way could change what it sends", got=url,
                hint="use https, or say --plain-http if that is as it should be",
            )
        raise SourceError("this is no address for HTTP", got=url)

    def _next(self, url: str, location: str) -> str:
        following = urljoin(url, location)
        if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
            raise SourceError("a redirect leads from TLS out of it, and isn't followed", got=following)
        return following


def from_offset(offset: int) -> dict[str, str]:
    """Return the header that asks for a file's bytes from `offset` on."""
    return {"Range": f"bytes={offset}-"} if offset else {}


def streamed(answer: BaseHTTPResponse, url: str, offset: int) -> Generator[bytes, None, None]:
    """Yield the body from `offset` on, whether the server knows ranges or sent all of it; raises SourceError."""
    require(answer, url, 200, 206)
    skipped = 0 if answer.status == 200 else _start(answer)
    while chunk := answer.read(CHUNK_BYTES, decode_content=False):
        skip = max(0, min(len(chunk), offset - skipped))
        skipped += skip
        yield chunk[skip:]


def require(answer: BaseHTTPResponse, url: str, *statuses: int) -> None:
    """Raise SourceError unless the answer has one of these statuses, with what the server says."""
    if answer.status in statuses:
        return
    parts = urlsplit(url)
    where = f"{parts.netloc}{parts.path}"  # a query may hold a signature
    said = " ".join(answer.read(500, decode_content=False).decode(errors="replace").split())[:200]
    kind = BrokenOffError if answer.status in _TEMPORARY else SourceError
    raise kind(f"the server answered with status {answer.status} for {where}", got=said or answer.reason)


def whole(answer: BaseHTTPResponse, max_bytes: int) -> bytes:
    """Return the body of an answer; raises SourceError when it is larger."""
    data = bytearray()
    while chunk := answer.read(CHUNK_BYTES, decode_content=False):
        data += chunk
        if len(data) > max_bytes:
            raise SourceError("an answer is too large", allowed=f"{max_bytes} bytes")
    return bytes(data)


def _start(answer: BaseHTTPResponse) -> int:
    """Return the position of the first byte of a partial answer."""
    unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        raise SourceError("a partial answer doesn't say of what", got=answer.headers.get("Content-Range"))
    return int(first)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
