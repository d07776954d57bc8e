"""The network: the port to listen on, the authorities that certificates are checked by, and each provider."""

from __future__ import annotations

import email.utils
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from edge_runtime.errors import NanoedgeError
from edge_runtime.provider import ProviderSettings
from edge_runtime.providers_file import ProvidersFile
from edge_runtime.wire import Call, LostError, UnreachedError, sent_and_answered
from server.doctor.finding import Finding, fail, ok, warn
from server.doctor.system import SET_CLOCK

_SECONDS: Final = 6.0
_ANSWER_BYTES: Final = 1 << 20
_WRONG_CLOCK_SECONDS: Final = 120.0


def port(host: str, number: int) -> Finding:
    """Try to listen there; a nanoedge that answers there already is as good."""
    where = f"{host} port {number}"
    try:
        socket.create_server((host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        if _is_ours(host, number):
            return ok("port", f"{where}: a server that answers /healthz listens there")
        fix = f"end what listens there (ss -ltnp 'sport = :{number}' names it), or serve with another --port"
        return fail("port", f"{where}: {error.strerror or error}", fix)
    return ok("port", f"{where} is free")


def certificates() -> Finding:
    """Look for the authorities that https is checked by, where OpenSSL looks for them."""
    paths = ssl.get_default_verify_paths()
    for place in (paths.cafile, paths.capath):  # None for what doesn't exist
        if place and (Path(place).is_file() or any(Path(place).iterdir())):
            return ok("certificates", f"authorities in {place}")
    given = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    found = f"no authorities in {given or paths.openssl_cafile}, so no https address can be asked"
    fix = "unset SSL_CERT_FILE and SSL_CERT_DIR, or name what exists" if given else "apt-get install ca-certificates"
    return warn("certificates", found, fix)


def providers(file: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Read the file as the server would, and ask each provider's address for anything, without a key or a picture."""
    try:
        settings = ProvidersFile.read(file, environment)
    except NanoedgeError as error:
        yield fail("providers file", str(error), f"correct {file} (docs/routing.md), and set the variables it names")
        return
    yield ok("providers file", f"{file}, {len(settings.providers)} providers")
    for provider in settings.providers:
        yield from _reached(provider)


def _reached(provider: ProviderSettings) -> Iterator[Finding]:
    subject = f"provider {provider.name}"
    began = time.monotonic()
    try:
        answer = sent_and_answered(Call("GET", provider.base_url), _SECONDS, _ANSWER_BYTES, lambda: False)
    except (UnreachedError, LostError) as error:
        fix = "check base_url, the name server and the firewall: curl -v shows how far one gets"
        yield fail(subject, f"{provider.base_url}: {error}", f"{fix} {provider.base_url}")
        return
    took = time.monotonic() - began
    yield ok(subject, f"{provider.base_url} answers ({answer.status}) in {1e3 * took:.0f} ms")
    if stated := answer.headers.get("date"):
        yield from _compared_clock(provider.name, stated)


def _compared_clock(name: str, stated: str) -> Iterator[Finding]:
    """Hold our clock to a provider's Date header."""
    try:
        theirs = email.utils.parsedate_to_datetime(stated).timestamp()
    except ValueError:  # no date that one can read
        return
    if abs(difference := time.time() - theirs) > _WRONG_CLOCK_SECONDS:
        words = f"{abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} the clock of {name}"
        yield fail("clock", words, SET_CLOCK)


def _is_ours(host: str, number: int) -> bool:
    url = f"http://{f'[{host}]' if ':' in host else host}:{number}/healthz"
    try:
        answer = sent_and_answered(Call("GET", url), 1.0, _ANSWER_BYTES, lambda: False)
        return answer.status == 200 and bool(json.loads(answer.body).get("status") == "ok")
    except (UnreachedError, LostError, ValueError, AttributeError):
        return False
