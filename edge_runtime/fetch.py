"""The bytes behind an `image_url`: http, https, or a data: URL. Guarded against requests into the operator's network.

A name is resolved once per hop, every address is checked, and the connection goes to the checked address, so a second
answer of the name server changes nothing. What the bytes are is decided by `images.decode`, not here.
"""

from __future__ import annotations

import base64
import http.client
import io
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, quote, unquote_to_bytes, urljoin, urlsplit

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from edge_runtime.addresses import Network, is_allowed
from edge_runtime.errors import UrlError
from edge_runtime.limits import Limits

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Resolver = Callable[[str, int], Sequence[str]]
"""Host name and port -> numeric addresses; raises OSError if there are none."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,252}|\[[0-9a-f:.]{2,45}\]")
_DATA_URL: Final = re.compile(r"data:image/[a-z0-9.+-]{1,40}(;[a-z0-9-]+=[^;,]{0,80})?;base64,", re.IGNORECASE)
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_CHUNK_BYTES: Final = 64 * 1024
_MAX_URL_CHARACTERS: Final = 8192
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_NETWORK_ERRORS: Final = (OSError, HTTPError, http.client.HTTPException, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPolicy:
    """Where a fetch may go. `seconds` bounds all of it: names, connections, redirects and the last byte.

    `allowed_hosts`, when given, are the only names (".example.com" stands for all names below it); they are checked by
    address as well. `allow_addresses` are networks of the operator that are exempt from that check. `ca_file` is a PEM
    file of certificate authorities to trust instead of the system's.
    """

    allowed_ports: tuple[int, ...] = (80, 443)
    allowed_hosts: tuple[str, ...] | None = None
    max_redirects: int = 3
    seconds: float = 5.0
    allow_addresses: tuple[Network, ...] = ()
    ca_file: str | None = None


def fetch_image(
    url: str, limits: Limits, policy: FetchPolicy = FetchPolicy(), resolve: Resolver | None = None
) -> bytes:
    """Fetch what `url` points to, at most `limits.max_bytes` of it; not decoded and not looked at.

    Raises UrlError with the code image_url_forbidden, image_url_unreachable or image_url_too_large. Its message names
    the host as the URL does, never an address that the name resolved to.
    """
    deadline = _Deadline(policy.seconds)
    for _ in range(policy.max_redirects + 1):
        target = _checked_target(url, policy)
        addresses = _checked_addresses(target, policy, resolve or system_addresses, deadline)
        try:
            with (
                _connected(target, addresses, policy, deadline) as connection,
                closing(_answer(connection, target)) as response,
            ):
                if response.status not in _REDIRECTS:
                    return _body(response, target, limits)
                url = urljoin(url, response.headers.get("Location", ""))
        except _NETWORK_ERRORS as error:
            raise _unreachable(target.host, f"gave no complete answer in {policy.seconds:g} s") from error
    raise _unreachable(target.host, f"redirects more than {policy.max_redirects} times")


def check_url(url: str, policy: FetchPolicy) -> None:
    """Raise UrlError for a URL that `policy` refuses whatever its name leads to. Nothing is resolved."""
    _checked_target(url, policy)


def tell(url: str, body: bytes, headers: Mapping[str, str], policy: FetchPolicy) -> None:
    """POST `body` to a stranger's `url` with the checks of `fetch_image`, once and without following redirects.

    Raises UrlError as that does, also for an answer that is not of success.
    """
    deadline = _Deadline(policy.seconds)
    target = _checked_target(url, policy)
    addresses = _checked_addresses(target, policy, system_addresses, deadline)
    try:
        with (
            _connected(target, addresses, policy, deadline) as connection,
            closing(_answer(connection, target, body, headers)) as response,
        ):
            status = response.status
    except _NETWORK_ERRORS as error:
        raise _unreachable(target.host, f"gave no answer in {policy.seconds:g} s") from error
    if not 200 <= status < 300:
        raise _unreachable(target.host, f"answered with status {status}")


def data_url_bytes(url: str, limits: Limits) -> bytes:
    """Return the bytes of a `data:image/...;base64,` URL; raises UrlError as `fetch_image` does."""
    head = _DATA_URL.match(url)
    if head is None:
        raise _forbidden("the data URL is not an image in base64", url[:40], "data:image/...;base64,...")
    encoded = url[head.end() :]
    if len(encoded) > limits.max_bytes * 4 // 3 + 4 and "%" not in encoded:
        raise _too_large(limits)
    try:
        data = base64.b64decode(unquote_to_bytes(encoded), validate=True)
    except ValueError as error:
        raise _forbidden("the data URL is not valid base64", f"{len(encoded)} characters", "padded base64") from error
    if len(data) > limits.max_bytes:
        raise _too_large(limits)
    return data


def system_addresses(host: str, port: int) -> Sequence[str]:
    """Resolve a name as this computer does, all A and AAAA records, in its order of preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _Deadline:
    """A moment on the clock that the whole fetch shares."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left, more than 0; raises TimeoutError."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the fetch ran out of time")
        return left


@dataclass(frozen=True, slots=True)
class _Target:
    scheme: str
    host: str  # lower case, no brackets, no trailing dot
    port: int
    path: str


def _checked_target(url: str, policy: FetchPolicy) -> _Target:
    if len(url) > _MAX_URL_CHARACTERS or not url.isprintable() or "\\" in url:
        raise _forbidden("the URL has characters or a length that is not accepted", f"{len(url)} characters")
    try:
        parts = urlsplit(url.strip())
        port = _DEFAULT_PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
        host = _plain_host(parts)
    except ValueError as error:
        raise _forbidden("the URL can't be read", f"{len(url)} characters") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise _forbidden("the URL's scheme is not accepted", parts.scheme or "none", "http, https")
    if "@" in parts.netloc:
        raise _forbidden("a URL with a user name or password is not accepted", host)
    if port not in policy.allowed_ports:
        raise _forbidden("the URL's port is not accepted", port, ", ".join(map(str, policy.allowed_ports)))
    if policy.allowed_hosts is not None and not _is_listed(host, policy.allowed_hosts):
        raise _forbidden("the URL's host is not on the list of this server", host)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]|")
    return _Target(parts.scheme, host, port, f"{path}?{query}" if query else path)


def _plain_host(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2]
    host = host[: host.index("]") + 1] if host.startswith("[") else host.partition(":")[0]
    # IDNA maps full-width digits and dots to plain ones, so what is looked up and checked is what it really says.
    host = (host if host.isascii() else host.encode("idna").decode("ascii")).lower()
    if not _HOST.fullmatch(host):
        raise ValueError("not a host name or address")
    return host.strip("[]").rstrip(".")


def _is_listed(host: str, listed: Sequence[str]) -> bool:
    return any(host == name.lower() or (name.startswith(".") and host.endswith(name.lower())) for name in listed)


def _checked_addresses(target: _Target, policy: FetchPolicy, resolve: Resolver, deadline: _Deadline) -> Sequence[str]:
    answers: SimpleQueue[Sequence[str] | Exception] = SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(resolve(target.host, target.port))
        except (OSError, ValueError) as error:
            answers.put(error)

    # A name server can be slower than the deadline and a look-up can't be interrupted, only left behind.
    threading.Thread(target=look_up, name="image-url-name", daemon=True).start()
    try:
        answer = answers.get(timeout=deadline.remaining())
    except (Empty, TimeoutError) as error:
        raise _unreachable(target.host, "was not found in time") from error
    if isinstance(answer, Exception) or not answer:
        raise _unreachable(target.host, "was not found") from (answer if isinstance(answer, Exception) else None)
    if not all(is_allowed(address, policy.allow_addresses) for address in answer):
        raise _forbidden("the URL's host is not on the public internet", target.host)
    return answer


@contextmanager
def _connected(
    target: _Target, addresses: Sequence[str], policy: FetchPolicy, deadline: _Deadline
) -> Iterator[HTTPConnection]:
    plain = _first_socket(addresses, target.port, deadline)
    try:
        context = ssl.create_default_context(cafile=policy.ca_file) if target.scheme == "https" else None
        plain.settimeout(deadline.remaining())
        if context is not None:
            plain = context.wrap_socket(plain, server_hostname=target.host)
        # With its socket in place urllib3 neither resolves nor connects, and it never asks the environment for a proxy.
        connection = HTTPConnection(target.host, target.port)
        connection.sock = plain
        connection.response_class = partial(_TimedResponse, deadline=deadline)  # type: ignore[assignment]
        yield connection
    finally:
        plain.close()


def _first_socket(addresses: Sequence[str], port: int, deadline: _Deadline) -> socket.socket:
    failed: OSError | None = None
    for position, address in enumerate(addresses):
        try:
            # An address that swallows packets may use up its share of the time, not all of it.
            share = deadline.remaining() / (len(addresses) - position)
            return socket.create_connection((address, port), timeout=share)
        except OSError as error:
            failed = error
    raise OSError("no address could be connected to") from failed


class _TimedReader(io.RawIOBase):
    """A socket's incoming bytes, each read bounded by what is left of the deadline.

    A plain socket timeout starts again with every byte, so a server that sends one in a while would be waited for.
    """

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock, self._deadline = sock, deadline
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        self._sock.settimeout(self._deadline.remaining())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """The status line, the headers and the body, all under the deadline."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None, *,
        deadline: _Deadline,
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.fp.close()
        self.fp = io.BufferedReader(_TimedReader(sock, deadline), _CHUNK_BYTES)


def _answer(
    connection: HTTPConnection, target: _Target, body: bytes | None = None, more: Mapping[str, str] = _NO_HEADERS
) -> HTTPResponse:
    name = f"[{target.host}]" if ":" in target.host else target.host
    host = name if target.port == _DEFAULT_PORTS[target.scheme] else f"{name}:{target.port}"
    accept = "image/*" if body is None else "*/*"
    headers = {"Host": host, "Accept": accept, "Accept-Encoding": "identity", "User-Agent": "nanoedge", **more}
    method = "GET" if body is None else "POST"
    connection.request(method, target.path, body, headers, preload_content=False, decode_content=False)
    return connection.getresponse()


def _body(response: HTTPResponse, target: _Target, limits: Limits) -> bytes:
    if response.status != 200:
        raise _unreachable(target.host, f"answered with status {response.status}")
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise _unreachable(target.host, "sent the picture compressed, which was not asked for")
    if int(response.headers.get("Content-Length") or 0) > limits.max_bytes:
        raise _too_large(limits)
    data = bytearray()
    while chunk := response.read(_CHUNK_BYTES, decode_content=False):
        data += chunk
        if len(data) > limits.max_bytes:
            raise _too_large(limits)
    return bytes(data)


def _forbidden(what: str, got: object, allowed: str | None = None) -> UrlError:
    return UrlError(
        what, got=got, allowed=allowed, hint="send the picture itself, or a public http or https URL",
        code="image_url_forbidden", param="image_url",
    )


def _unreachable(host: str, what: str) -> UrlError:
    return UrlError(
        f"the image_url could not be fetched: {host} {what}", hint="check the URL, or send the picture itself",
        code="image_url_unreachable", param="image_url",
    )


def _too_large(limits: Limits) -> UrlError:
    return UrlError(
        "the picture behind the image_url is too large", allowed=f"up to {limits.max_bytes} bytes",
        hint="send a smaller picture", code="image_url_too_large", param="image_url",
    )
