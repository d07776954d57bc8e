"""A repository of an OCI registry (Harbor, distribution, Zot ...), by the distribution API v2: manifests and blobs.

A model is an OCI artifact: an image manifest with an artifact type of ours, whose layers are the artifact's files, each
named by the annotation for titles. `oras pull` reads it too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, Any, Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

from urllib3.response import BaseHTTPResponse

from edge_runtime.errors import OptionError, SourceError
from edge_runtime.registry_login import Login
from edge_runtime.transfer import Transfer, from_offset, require, streamed, whole

ARTIFACT_TYPE: Final = "application/vnd.nanoedge.model.v1"
MANIFEST_LAYER: Final = "application/vnd.nanoedge.model.manifest.v1+json"
SIGNATURE_LAYER: Final = "application/vnd.nanoedge.model.signature.v1.minisig"
FILE_LAYER: Final = "application/vnd.nanoedge.model.file.v1"
IMAGE_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
TITLE: Final = "org.opencontainers.image.title"
EMPTY: Final = b"{}"
EMPTY_CONFIG: Final = "application/vnd.oci.empty.v1+json"
_MAX_MANIFEST_BYTES: Final = 4 << 20
_PIECE_BYTES: Final = 32 << 20
"""Larger files go up in pieces of this size: proxies in front of registries limit what one request may carry."""

_ADDRESS: Final = re.compile(
    r"(?:oci|oci\+http)://(?P<host>[A-Za-z0-9.-]+(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?)"
    r"/(?P<repository>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_PARAMETER: Final = re.compile(r'([a-z]+)="([^"]*)"')
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
Sent = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """`oci://host[:port]/repository[:tag][@sha256:...]`; a digest counts more than a tag."""

    host: str
    repository: str
    reference: str
    plain: bool

    @classmethod
    def parse(cls, text: str, *, plain_http: bool = False) -> Address:
        """Read an address; raises OptionError. TLS is left out only for `oci+http` or with `plain_http`."""
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise OptionError(
                "this is no address in a registry", got=text, allowed="oci://host/repository:tag, or @sha256:...",
                hint="repositories are in lower case",
            )
        reference = found["digest"] or found["tag"] or "latest"
        plain = plain_http or text.startswith("oci+http:")
        return cls(host=found["host"], repository=found["repository"], reference=reference, plain=plain)

    def __str__(self) -> str:
        mark = "@" if self.reference.startswith("sha256:") else ":"
        return f"oci{'+http' if self.plain else ''}://{self.host}/{self.repository}{mark}{self.reference}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A layer: what it is, its digest as `sha256:<hex>`, its size, and its name."""

    media_type: str
    digest: str
    bytes: int
    title: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor."""
        named = {"annotations": {TITLE: self.title}} if self.title else {}
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.bytes, **named}


class Registry:
    """One repository. Asks for a token when the registry wants one, and keeps it. Used by one thread."""

    def __init__(self, address: Address, login: Login) -> None:
        self.address = address
        self._transfer = Transfer(plain_http=address.plain)
        self._login, self._authorization = login, ""
        scheme = "http" if address.plain else "https"
        self._base = f"{scheme}://{address.host}/v2/{address.repository}"

    def manifest(self, reference: str) -> tuple[dict[str, Any], str]:
        """Return the manifest of a tag or a digest, and its digest, which was checked. Raises SourceError."""
        url = f"{self._base}/manifests/{reference}"
        with self._asked("GET", url, {"Accept": IMAGE_MANIFEST}) as answer:
            if answer.status == 404:
                raise SourceError("there is no such model in the registry", got=self.address)
            require(answer, url, 200)
            encoded, stated = whole(answer, _MAX_MANIFEST_BYTES), answer.headers.get("Docker-Content-Digest")
        digest = digest_of(encoded)
        for wanted in (stated, reference if reference.startswith("sha256:") else None):
            if wanted is not None and wanted.startswith("sha256:") and wanted != digest:
                raise SourceError("the registry sent another manifest than it names", got=digest, allowed=wanted)
        try:
            found = json.loads(encoded)
        except ValueError as error:
            raise SourceError("the registry's manifest is not JSON", got=error) from error
        if not isinstance(found, dict):
            raise SourceError("the registry's manifest is of another form")
        return found, digest

    def read(self, blob: Blob, max_bytes: int) -> bytes:
        """Return a small blob, whose digest is checked."""
        url = self._blob_url(blob)
        with self._asked("GET", url) as answer:
            require(answer, url, 200)
            data = whole(answer, max_bytes)
        if digest_of(data) != blob.digest:
            raise SourceError(f"the file {blob.title} in the registry has the wrong digest", got=digest_of(data))
        return data

    def stream(self, blob: Blob, offset: int) -> Generator[bytes, None, None]:
        """Yield a blob from `offset` on; its digest is the caller's to check."""
        url = self._blob_url(blob)
        with self._asked("GET", url, from_offset(offset)) as answer:
            yield from streamed(answer, url, offset)

    def has(self, blob: Blob) -> bool:
        """Say whether the repository has a blob of this digest and size."""
        with self._asked("HEAD", self._blob_url(blob), push=True) as answer:
            if answer.status == 404:
                return False
            require(answer, self._blob_url(blob), 200)
            return int(answer.headers.get("Content-Length") or blob.bytes) == blob.bytes

    def put(self, blob: Blob, file: IO[bytes], sent: Sent = lambda count: None) -> None:
        """Bring a blob there; the registry compares its digest. Raises SourceError."""
        url = self._begun()
        done = 0
        while blob.bytes - done > _PIECE_BYTES:
            piece = file.read(_PIECE_BYTES)
            headers = {
                "Content-Type": "application/octet-stream", "Content-Range": f"{done}-{done + len(piece) - 1}",
            }  # fmt: skip
            with self._asked("PATCH", url, headers, piece, push=True) as answer:
                require(answer, url, 202)
                url = urljoin(url, answer.headers.get("Location", url))
            done += len(piece)
            sent(len(piece))
        last = file.read()
        mark = "&" if urlsplit(url).query else "?"
        end = f"{url}{mark}{urlencode({'digest': blob.digest})}"
        ranged = {"Content-Range": f"{done}-{done + len(last) - 1}"} if done else {}
        headers = {"Content-Type": "application/octet-stream", **ranged}
        with self._asked("PUT", end, headers, last, push=True) as answer:
            require(answer, url, 201)
            _same_digest(answer, blob.digest)
        sent(len(last))

    def put_manifest(self, manifest: Mapping[str, Any]) -> str:
        """Put a manifest under the address's tag; return its digest, which the registry has confirmed."""
        encoded = json.dumps(manifest, indent=2).encode()
        url = f"{self._base}/manifests/{self.address.reference}"
        with self._asked("PUT", url, {"Content-Type": IMAGE_MANIFEST}, encoded, push=True) as answer:
            require(answer, url, 201)
            _same_digest(answer, digest_of(encoded))
        return digest_of(encoded)

    def close(self) -> None:
        """Close the connections."""
        self._transfer.close()

    def _begun(self) -> str:
        """Begin an upload; return where it goes."""
        url = f"{self._base}/blobs/uploads/"
        with self._asked("POST", url, {"Content-Length": "0"}, push=True) as answer:
            require(answer, url, 202)
            location = answer.headers.get("Location", "")
        following = urljoin(url, location)
        if not location or urlsplit(following).scheme != urlsplit(url).scheme:
            raise SourceError("the registry names no place for the upload, or one without TLS", got=location)
        return following

    def _blob_url(self, blob: Blob) -> str:
        return f"{self._base}/blobs/{quote(blob.digest, safe=':')}"

    def _headers(self) -> dict[str, str]:
        return {"Authorization": self._authorization} if self._authorization else {}

    @contextmanager
    def _asked(
        self, method: str, url: str, headers: Mapping[str, str] = _NO_HEADERS, body: bytes | None = None, *,
        push: bool = False,
    ) -> Iterator[BaseHTTPResponse]:
        """Ask, and once more with what the registry wants to see, when it says so."""
        challenge = None
        if urlsplit(url).netloc == self.address.host:
            with self._transfer.ask(method, url, {**headers, **self._headers()}, body) as answer:
                if answer.status != 401:
                    yield answer
                    return
                challenge = answer.headers.get("WWW-Authenticate", "")
            self._authorization = self._authorized(challenge, push)
            known = self._headers()
        else:  # an upload may lie on another host, which gets no credentials of ours
            known = {}
        with self._transfer.ask(method, url, {**headers, **known}, body) as answer:
            if answer.status in (401, 403):
                raise self._login.refused(self.address.host, answer.status)
            yield answer

    def _authorized(self, challenge: str, push: bool) -> str:
        """Return the header that answers a challenge; raises SourceError."""
        scheme, _, rest = challenge.partition(" ")
        known = self._login.find(self.address.host)
        if scheme.lower() == "basic":
            if known is None:
                raise self._login.refused(self.address.host, 401)
            return _basic(*known)
        parameters = dict(_PARAMETER.findall(rest))
        realm = parameters.get("realm", "")
        if scheme.lower() != "bearer" or not realm:
            raise SourceError("the registry asks for an authorization that is not known here", got=challenge[:80])
        scope = f"repository:{self.address.repository}:{'pull,push' if push else 'pull'}"
        query = urlencode({"service": parameters.get("service", ""), "scope": scope})
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{query}"
        headers = {} if known is None else {"Authorization": _basic(*known)}
        with self._transfer.ask("GET", url, headers) as answer:
            if answer.status in (401, 403):
                raise self._login.refused(self.address.host, answer.status)
            require(answer, url, 200)
            encoded = whole(answer, _MAX_MANIFEST_BYTES)
        try:
            found = json.loads(encoded)
            return f"Bearer {found.get('token') or found['access_token']}"
        except (ValueError, KeyError, AttributeError) as error:
            raise SourceError("the registry's token server sent no token", got=urlsplit(realm).netloc) from error


def digest_of(data: bytes) -> str:
    """Return a digest as registries spell it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _same_digest(answer: BaseHTTPResponse, digest: str) -> None:
    stated = answer.headers.get("Docker-Content-Digest")
    if stated is not None and stated != digest:
        raise SourceError("the registry took something else than it was sent", got=stated, allowed=digest)


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


