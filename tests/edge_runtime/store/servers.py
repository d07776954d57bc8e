"""Real HTTP servers to pull from and push to: a folder with ranges, and a registry that wants tokens."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "edge", "secret"


@dataclass
class Site:
    """What a server gives out and what it saw. `cut` breaks off a path's answer once, after so many bytes."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    pause: threading.Event | None = None
    """Waited for in the middle of a cut answer, which is not closed before."""
    ranges: bool = True
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    url: str = ""
    secrets: list[str | None] = field(default_factory=list)
    """The Authorization of each request."""
    redirects: dict[str, str] = field(default_factory=dict)

    def add(self, folder: Path, prefix: str = "/model") -> str:
        """Give out a folder; returns its address."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.files[f"{prefix}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
        return f"{self.url}{prefix}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def give(self, data: bytes, **headers: str) -> None:
        """Answer with a file, or the part of it that is asked for, and break off where that is planned."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        first = int(wanted[1]) if wanted and self.site.ranges else 0
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        cut = self.site.cut.pop(self.path, None) if self.command == "GET" else None
        if cut is None:
            self.answer(206 if first else 200, data[first:], **headers)
            return
        self.send_response(206 if first else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        self.wfile.write(data[first:cut])
        self.wfile.flush()
        if self.site.pause is not None:
            self.site.pause.wait(30)
        self.close_connection = True

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
        self.site.asked.append((self.command, self.path, self.headers.get("Range")))
        self.site.secrets.append(self.headers.get("Authorization"))
        if location := self.site.redirects.get(self.path):
            self.answer(307, Location=location)
            return
        data = self.site.files.get(self.path)
        self.give(data) if data is not None else self.answer(404, b"nothing here")


class RegistryHandler(Handler):
    def do_GET(self) -> None:  # noqa: N802
        self.site.asked.append((self.command, self.path, self.headers.get("Range")))
        if self.path.startswith("/token"):
            self._token()
            return
        if not self._allowed("pull"):
            return
        if found := re.fullmatch(r"/v2/(.+)/manifests/(.+)", self.path):
            data = self.site.manifests.get(f"{found[1]} {found[2]}")
            digest = "" if data is None else f"sha256:{hashlib.sha256(data).hexdigest()}"
            self.answer(404) if data is None else self.answer(200, data, Docker_Content_Digest=digest)
        elif found := re.fullmatch(r"/v2/(.+)/blobs/(sha256:.+)", self.path):
            data = self.site.blobs.get(found[2])
            self.answer(404) if data is None else self.give(data)
        else:
            self.answer(404)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:  # noqa: N802
        self._body()
        if self._allowed("push"):
            name = secrets.token_hex(8)
            self.site.uploads[name] = b""
            self.answer(202, Location=f"/v2/uploads/{name}?state=1")

    def do_PATCH(self) -> None:  # noqa: N802
        body = self._body()
        if not self._allowed("push"):
            return
        name = urlsplit(self.path).path.rpartition("/")[2]
        first, _, last = self.headers["Content-Range"].partition("-")
        if int(first) != len(self.site.uploads[name]) or int(last) != int(first) + len(body) - 1:
            self.answer(416)
            return
        self.site.uploads[name] += body
        self.answer(202, Location=f"{self.site.url}/v2/uploads/{name}?state=2")

    def do_PUT(self) -> None:  # noqa: N802
        body = self._body()
        if not self._allowed("push"):
            return
        self.site.asked.append((self.command, self.path, None))
        if found := re.fullmatch(r"/v2/(.+)/manifests/(.+)", self.path):
            missing = [one["digest"] for one in json.loads(body)["layers"] if one["digest"] not in self.site.blobs]
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            if missing:
                self.answer(400, b"blob unknown")
                return
            for reference in (found[2], digest):
                self.site.manifests[f"{found[1]} {reference}"] = body
            self.answer(201, Docker_Content_Digest=digest)
            return
        parts = urlsplit(self.path)
        data = self.site.uploads.pop(parts.path.rpartition("/")[2]) + body
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if parse_qs(parts.query)["digest"] != [digest]:
            self.answer(400, b"digest invalid")
            return
        self.site.blobs[digest] = data
        self.answer(201, Docker_Content_Digest=digest)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _token(self) -> None:
        given = self.headers.get("Authorization") or ""
        if given != f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}":
            self.answer(401, b"who are you?")
            return
        token = secrets.token_hex(8)
        self.site.tokens[token] = parse_qs(urlsplit(self.path).query)["scope"][0]
        self.answer(200, json.dumps({"token": token}).encode())

    def _allowed(self, action: str) -> bool:
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        if scheme == "Bearer" and action in self.site.tokens.get(token, "").rpartition(":")[2].split(","):
            return True
        realm = f'Bearer realm="{self.site.url}/token?a=1",service="tests",scope="repository:any:pull"'
        self.answer(401, b"{}", WWW_Authenticate=realm)
        return False


@contextmanager
def serving(handler: type[Handler] = Handler, tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Run a server on a free loopback port."""
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (handler,), {"site": site}))
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        site.url = site.url.replace("http://127.0.0.1", "https://localhost")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield site
    finally:
        if site.pause is not None:
            site.pause.set()
        server.shutdown()
        thread.join()
        server.server_close()
