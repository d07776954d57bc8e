"""HTTP with the operator's own servers: TLS, redirects, and whom a password is shown to."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.errors import NanoedgeError, SourceError
from edge_runtime.source import BrokenOffError
from edge_runtime.transfer import Transfer
from tests.edge_runtime.store.servers import Site, serving

SECRET = {"Authorization": "Basic c2VjcmV0"}


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    """A site behind TLS, and the certificate that vouches for it."""
    folder = tmp_path_factory.mktemp("tls")
    request = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout key.pem -out certificate.pem"
    subprocess.run(["openssl", *request.split(), "-addext", "subjectAltName=DNS:localhost"], cwd=folder, check=True,
                   capture_output=True)  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    with serving(tls=context) as site:
        yield site, folder / "certificate.pem"


@pytest.fixture
def plain() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def other() -> Iterator[Site]:
    with serving() as site:
        yield site


def test_certificates_are_checked(secure: tuple[Site, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    site, certificate = secure
    site.files["/a"] = b"content"
    with pytest.raises(BrokenOffError, match="certificate verify failed|CERTIFICATE_VERIFY_FAILED"):
        Transfer(plain_http=True).read(f"{site.url}/a", 100)
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(certificate))
    transfer = Transfer(plain_http=False)
    assert transfer.read(f"{site.url}/a", 100) == b"content"
    assert b"".join(transfer.stream(f"{site.url}/a", 3)) == b"tent"
    transfer.close()


def test_no_redirect_leads_out_of_tls(
    secure: tuple[Site, Path], plain: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, certificate = secure
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(certificate))
    site.redirects["/a"] = f"{plain.url}/a"
    with pytest.raises(SourceError, match="out of"):
        Transfer(plain_http=True).read(f"{site.url}/a", 100)
    assert plain.asked == []


def test_credentials_stay_with_their_host(plain: Site, other: Site) -> None:
    plain.redirects = {"/a": "/b", "/b": f"{other.url}/c"}
    other.files["/c"] = b"content"
    assert Transfer(plain_http=True).read(f"{plain.url}/a", 100, SECRET) == b"content"
    assert plain.secrets == [SECRET["Authorization"]] * 2 and other.secrets == [None]


def test_redirects_end(plain: Site) -> None:
    plain.redirects = {"/a": "/a"}
    with pytest.raises(SourceError, match="more than 5 times"):
        Transfer(plain_http=True).read(f"{plain.url}/a", 100)


def test_answers_have_limits(plain: Site) -> None:
    plain.files["/a"] = b"x" * 101
    with pytest.raises(SourceError, match="too large"):
        Transfer(plain_http=True).read(f"{plain.url}/a", 100)
    assert Transfer(plain_http=True).read(f"{plain.url}/none", 100) is None
    with pytest.raises(NanoedgeError, match="status 404.*nothing here"):
        list(Transfer(plain_http=True).stream(f"{plain.url}/none?secret=1", 0))
