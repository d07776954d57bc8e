from __future__ import annotations

import base64
import gzip
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.errors import UrlError
from edge_runtime.fetch import FetchPolicy, Resolver, data_url_bytes, fetch_image, system_addresses
from edge_runtime.limits import Limits

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 16
LIMITS = Limits(max_bytes=100_000)
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

Behaviour = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by path with the behaviours that a test registers."""

    server: Origin

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers.items())))
        self.server.behaviours[self.path](self)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def answer(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Origin(ThreadingHTTPServer):
    """A web server on this computer, on a free port."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviours: dict[str, Behaviour] = {"/picture": lambda handler: handler.answer(PICTURE)}
        self.seen: list[tuple[str, dict[str, str]]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what some of the tests are about."""

    def url(self, path: str = "/picture", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}{path}"

    def policy(self, **options: Any) -> FetchPolicy:
        return replace(
            FetchPolicy(allowed_ports=(80, 443, self.server_port), allow_addresses=LOOPBACK, seconds=2), **options
        )


@contextmanager
def running(origin: Origin) -> Iterator[Origin]:
    thread = threading.Thread(target=origin.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield origin
    finally:
        origin.shutdown()
        thread.join()
        origin.server_close()


@pytest.fixture
def origin() -> Iterator[Origin]:
    with running(Origin()) as server:
        yield server


def redirecting(location: str, status: int = 302) -> Behaviour:
    return lambda handler: handler.answer(status=status, Location=location)


def answering(*addresses: str) -> Callable[[str, int], Sequence[str]]:
    return lambda host, port: addresses


def refused(code: str, url: str, policy: FetchPolicy | None = None, resolve: Resolver | None = None) -> UrlError:
    with pytest.raises(UrlError) as caught:
        fetch_image(url, LIMITS, policy or FetchPolicy(), resolve)
    assert caught.value.code == code
    assert caught.value.status == 400 and caught.value.param == "image_url"
    return caught.value


# --- fetching -------------------------------------------------------------------------------------------------------


def test_a_picture_is_fetched(origin: Origin) -> None:
    assert fetch_image(origin.url(), LIMITS, origin.policy()) == PICTURE


def test_what_is_sent(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    origin.behaviours["/a%20b/%C3%A9.png?x=1&y=%7B"] = lambda handler: handler.answer(PICTURE)
    url = origin.url("/a b/\u00e9.png?x=1&y={#part", host="pictures.test")
    assert fetch_image(url, LIMITS, origin.policy(), answering("127.0.0.1")) == PICTURE
    _, headers = origin.seen[0]
    assert headers == {
        "Host": f"pictures.test:{origin.server_port}", "Accept": "image/*", "Accept-Encoding": "identity",
        "User-Agent": "nanoedge",
    }


def test_chunked_and_unmeasured_bodies(origin: Origin) -> None:
    def chunked(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    def unmeasured(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(PICTURE)

    origin.behaviours |= {"/chunked": chunked, "/unmeasured": unmeasured}
    assert fetch_image(origin.url("/chunked"), LIMITS, origin.policy()) == b"abcde"
    assert fetch_image(origin.url("/unmeasured"), LIMITS, origin.policy()) == PICTURE


def test_second_address_is_tried(origin: Origin) -> None:
    addresses = answering("127.0.0.9", "127.0.0.1")  # the server listens on one of the two only
    assert fetch_image(origin.url(host="pictures.test"), LIMITS, origin.policy(), addresses) == PICTURE


def test_cookies_are_not_kept(origin: Origin) -> None:
    origin.behaviours["/first"] = lambda handler: handler.answer(status=302, Location="/picture", Set_Cookie="a=b")
    assert fetch_image(origin.url("/first"), LIMITS, origin.policy()) == PICTURE
    assert "Cookie" not in origin.seen[1][1]


def test_the_system_resolves_localhost() -> None:
    assert set(system_addresses("localhost", 80)) & {"127.0.0.1", "::1"}


# --- limits ---------------------------------------------------------------------------------------------------------


def test_length_that_is_too_large_is_not_read(origin: Origin) -> None:
    origin.behaviours["/large"] = lambda handler: handler.answer(b"", Content_Length=str(10**12))
    refused("image_url_too_large", origin.url("/large"), origin.policy())


@pytest.mark.parametrize("length", [None, "5000"])
def test_endless_body_is_cut(origin: Origin, length: str | None) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "image/png")
        if length:
            handler.send_header("Content-Length", length)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(65536))

    origin.behaviours["/endless"] = endless
    if length:
        assert fetch_image(origin.url("/endless"), LIMITS, origin.policy()) == bytes(5000)
    else:
        refused("image_url_too_large", origin.url("/endless"), origin.policy())


def test_exactly_the_limit_is_accepted(origin: Origin) -> None:
    origin.behaviours["/full"] = lambda handler: handler.answer(bytes(100_000))
    assert len(fetch_image(origin.url("/full"), LIMITS, origin.policy())) == 100_000


@pytest.mark.parametrize("length", ["99999", "-5", "abc", "9" * 5000])
def test_length_that_lies(origin: Origin, length: str) -> None:
    origin.behaviours["/lie"] = lambda handler: handler.answer(PICTURE, Content_Length=length)
    try:
        assert fetch_image(origin.url("/lie"), LIMITS, origin.policy()) == PICTURE  # measured by the connection's end
    except UrlError as error:
        assert error.code in ("image_url_unreachable", "image_url_too_large")
    else:
        assert length in ("-5", "abc")


def test_compressed_answers_are_refused(origin: Origin) -> None:
    bomb = gzip.compress(bytes(5_000_000), 9)
    origin.behaviours["/gzip"] = lambda handler: handler.answer(bomb, Content_Encoding="gzip")
    assert "compressed" in str(refused("image_url_unreachable", origin.url("/gzip"), origin.policy()))


@pytest.mark.parametrize("status", [204, 206, 304, 401, 404, 500])
def test_other_answers(origin: Origin, status: int) -> None:
    origin.behaviours["/other"] = lambda handler: handler.answer(b"secret", status=status)
    assert f"status {status}" in str(refused("image_url_unreachable", origin.url("/other"), origin.policy()))


@pytest.mark.parametrize("part", ["before", "status", "headers", "body", "chunks"])
def test_slow_drip_ends_at_the_deadline(origin: Origin, part: str) -> None:
    start = {
        "before": b"", "status": b"HTTP/1.1 200 O", "headers": b"HTTP/1.1 200 OK\r\nX-Slow: ",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n",
    }[part]

    def drip(handler: Handler) -> None:
        handler.wfile.write(start)
        for _ in range(200):
            time.sleep(0.05)
            if part != "before":
                handler.wfile.write(b"x")

    origin.behaviours["/drip"] = drip
    started = time.monotonic()
    refused("image_url_unreachable", origin.url("/drip"), origin.policy(seconds=0.4))
    assert time.monotonic() - started < 4


def test_redirects_share_the_deadline(origin: Origin) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(0.3)
        handler.answer(status=302, Location="/slow")

    origin.behaviours["/slow"] = slow
    started = time.monotonic()
    refused("image_url_unreachable", origin.url("/slow"), origin.policy(seconds=0.5, max_redirects=20))
    assert time.monotonic() - started < 4


def test_name_server_that_is_slow() -> None:
    def slow(host: str, port: int) -> Sequence[str]:
        time.sleep(3)
        return ["8.8.8.8"]

    started = time.monotonic()
    refused("image_url_unreachable", "http://slow.test/", FetchPolicy(seconds=0.2), resolve=slow)
    assert time.monotonic() - started < 2.5


def test_server_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        policy = FetchPolicy(allowed_ports=(port,), allow_addresses=LOOPBACK, seconds=1)
        refused("image_url_unreachable", f"http://127.0.0.1:{port}/", policy)


def test_server_that_speaks_something_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                client.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        policy = FetchPolicy(allowed_ports=(port,), allow_addresses=LOOPBACK, seconds=1)
        error = refused("image_url_unreachable", f"http://127.0.0.1:{port}/", policy)
        assert "OpenSSH" not in str(error)
        thread.join()


# --- what is forbidden ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "", "picture.png", "//host/picture.png", "http:///picture.png", "http://", "file:///etc/passwd",
        "ftp://example.com/a.png", "gopher://127.0.0.1:6379/_INFO", "unix:///var/run/docker.sock",
        "data:image/png;base64,AAAA", "javascript:alert(1)", "http+unix://socket/", "HTTPX://example.com/",
        "http://user@example.com/", "http://user:secret@example.com/", "http://example.com@127.0.0.1/",
        "http://@example.com/", "http://example.com:22/", "http://example.com:0/", "http://example.com:99999/",
        "http://example.com:-1/", "http://example.com:8080/", "https://example.com:http/",
        "http://example.com\\@127.0.0.1/", "http://example.com\r\nX: y/", "http://exa\tmple.com/",
        "http://exa mple.com/",
        "http://example.com/\x00", "http://%31%32%37.0.0.1/", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/",
        "http://[::1/", "http://::1/", "http://user:secret@ex*mple.com/", "http://ex*mple.com/",
        "http://" + "a" * 300 + "/",
        "http://example.com/" + "a" * 9000,
    ],
)
def test_urls_that_are_not_even_looked_up(url: str) -> None:
    def never(host: str, port: int) -> Sequence[str]:
        raise AssertionError(f"{host} was looked up")

    error = refused("image_url_forbidden", url, resolve=never)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "127.1", "0", "0.0.0.0", "localhost",
        "LOCALHOST", "localhost.", "127.0.0.1.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]",
        "[64:ff9b::7f00:1]", "169.254.169.254", "[::ffff:a9fe:a9fe]", "10.0.0.1", "[fe80::1]",
        "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "127\u30020\u30020\u30021", "\uff4c\uff4f\uff43alhost",
    ],
)
def test_odd_spellings_of_inner_addresses(host: str) -> None:
    """With the system's own resolver: what it makes of a spelling is what is checked."""
    with pytest.raises(UrlError) as caught:
        fetch_image(f"http://{host}/", LIMITS, FetchPolicy(seconds=3))
    assert caught.value.code in ("image_url_forbidden", "image_url_unreachable")
    try:
        system_addresses(host.strip("[]"), 80)
    except OSError:
        return  # a spelling that this system does not know
    assert caught.value.code == "image_url_forbidden"


@pytest.mark.parametrize(
    "addresses",
    [
        ("169.254.169.254",), ("8.8.8.8", "10.11.12.13"), ("10.11.12.13", "8.8.8.8"), ("2606:4700::1", "fd00:ec2::254"),
        ("64:ff9b::a9fe:a9fe",), ("fe80::1%eth0",), ("not an address",),
    ],
)
def test_one_inner_address_among_several_is_enough(addresses: tuple[str, ...]) -> None:
    error = refused("image_url_forbidden", "http://pictures.test/", resolve=answering(*addresses))
    assert "pictures.test" in str(error)
    assert not any(address in str(error) for address in addresses)


def test_names_that_do_not_exist() -> None:
    def nothing(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "10.0.0.53 says no")

    error = refused("image_url_unreachable", "http://nowhere.test/", resolve=nothing)
    assert "10.0.0.53" not in str(error)
    refused("image_url_unreachable", "http://nowhere.test/", resolve=answering())


def test_second_answer_of_the_name_server_changes_nothing(origin: Origin) -> None:
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    origin.behaviours["/again"] = redirecting("/picture")
    assert fetch_image(origin.url(host="rebind.test"), LIMITS, origin.policy(), rebinding) == PICTURE
    assert asked == ["rebind.test"]
    asked.clear()
    refused("image_url_forbidden", origin.url("/again", host="rebind.test"), origin.policy(), resolve=rebinding)
    assert asked == ["rebind.test", "rebind.test"]  # once a hop, each answer checked


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://169.254.169.254/latest/meta-data/", "image_url_forbidden"),
        ("http://10.0.0.1/", "image_url_forbidden"), ("//192.168.0.1/", "image_url_forbidden"),
        ("file:///etc/passwd", "image_url_forbidden"), ("gopher://127.0.0.1/", "image_url_forbidden"),
        ("data:image/png;base64,AAAA", "image_url_forbidden"), ("http://127.0.0.1:22/", "image_url_forbidden"),
        ("http://user:secret@127.0.0.1/", "image_url_forbidden"), ("/loop", "image_url_unreachable"),
        ("", "image_url_unreachable"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_checked_like_the_first_url(origin: Origin, status: int, location: str, code: str) -> None:
    origin.behaviours["/loop"] = redirecting(location, status)
    refused(code, origin.url("/loop"), origin.policy())
    assert len(origin.seen) == (4 if code == "image_url_unreachable" else 1)


def test_three_redirects_are_followed_and_no_more(origin: Origin) -> None:
    for step in range(4):
        to = f"/{step - 1}" if step else "/picture"
        origin.behaviours[f"/{step}"] = redirecting(to)
    assert fetch_image(origin.url("/2"), LIMITS, origin.policy()) == PICTURE
    assert "more than 3 times" in str(refused("image_url_unreachable", origin.url("/3"), origin.policy()))
    refused("image_url_unreachable", origin.url("/0"), origin.policy(max_redirects=0))


def test_list_of_hosts(origin: Origin) -> None:
    policy = origin.policy(allowed_hosts=("Pictures.test", ".cdn.test"))
    here = answering("127.0.0.1")
    for host in ("pictures.test", "PICTURES.TEST", "pictures.test.", "a.cdn.test"):
        assert fetch_image(origin.url(host=host), LIMITS, policy, here) == PICTURE
    for host in ("other.test", "cdn.test", "evilcdn.test", "pictures.test.evil.test", "127.0.0.1"):
        refused("image_url_forbidden", origin.url(host=host), policy, resolve=here)
    refused("image_url_forbidden", "http://pictures.test/", FetchPolicy(allowed_hosts=("pictures.test",)), resolve=here)
    refused("image_url_forbidden", "http://pictures.test/", FetchPolicy(allowed_hosts=()), resolve=here)


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority and a certificate for pictures.test, made by openssl's command."""
    folder = tmp_path_factory.mktemp("certificates")
    commands = [
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-authority "
        "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign",
        "req -newkey rsa:2048 -nodes -keyout host.key -out host.csr -subj /CN=pictures.test",
        "x509 -req -in host.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out host.pem -extfile names",
    ]
    (folder / "names").write_text(
        "subjectAltName=DNS:pictures.test\nauthorityKeyIdentifier=keyid\nbasicConstraints=critical,CA:FALSE\n"
    )
    try:
        for command in commands:
            subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl can't make certificates here: {error}")
    return folder


@pytest.fixture
def tls_origin(certificates: Path) -> Iterator[Origin]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "host.pem", certificates / "host.key")
    server = Origin()
    server.names = []  # type: ignore[attr-defined]
    context.sni_callback = lambda sock, name, context: server.names.append(name)  # type: ignore[attr-defined]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with running(server):
        yield server


def test_tls_goes_to_the_checked_address_under_the_hosts_name(tls_origin: Origin, certificates: Path) -> None:
    policy = tls_origin.policy(ca_file=str(certificates / "ca.pem"))
    url = f"https://pictures.test:{tls_origin.server_port}/picture"
    assert fetch_image(url, LIMITS, policy, answering("127.0.0.1")) == PICTURE
    assert tls_origin.names == ["pictures.test"]  # type: ignore[attr-defined]
    assert tls_origin.seen[0][1]["Host"] == f"pictures.test:{tls_origin.server_port}"


def test_certificates_are_checked(tls_origin: Origin, certificates: Path) -> None:
    trusting = tls_origin.policy(ca_file=str(certificates / "ca.pem"))
    port = tls_origin.server_port
    refused("image_url_unreachable", f"https://other.test:{port}/", trusting, resolve=answering("127.0.0.1"))
    refused("image_url_unreachable", f"https://127.0.0.1:{port}/", trusting)
    stranger = tls_origin.policy()  # knows the system's authorities only
    refused("image_url_unreachable", f"https://pictures.test:{port}/", stranger, resolve=answering("127.0.0.1"))


def test_tls_handshake_that_never_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        policy = FetchPolicy(allowed_ports=(port,), allow_addresses=LOOPBACK, seconds=0.3)
        refused("image_url_unreachable", f"https://127.0.0.1:{port}/", policy)
        assert time.monotonic() - started < 4


# --- data URLs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head", ["data:image/png;base64,", "DATA:image/svg+xml;BASE64,", "data:image/png;charset=x;base64,"]
)
def test_data_url(head: str) -> None:
    assert data_url_bytes(head + base64.b64encode(PICTURE).decode(), LIMITS) == PICTURE


def test_data_url_that_is_percent_encoded() -> None:
    assert data_url_bytes("data:image/png;base64,%2B%2F%2B%2Fqg%3D%3D", LIMITS) == base64.b64decode("+/+/qg==")


@pytest.mark.parametrize(
    "url",
    [
        "data:text/html;base64,AAAA", "data:image/png,AAAA", "data:;base64,AAAA", "http://example.com/", "",
        "data:image/png;base64,A", "data:image/png;base64,AA AA", "data:image/png;base64,\u00e9",
        "data:image/png;base64,!!!!",
    ],
)
def test_data_url_that_is_not_one(url: str) -> None:
    with pytest.raises(UrlError) as caught:
        data_url_bytes(url, LIMITS)
    assert caught.value.code == "image_url_forbidden"


@pytest.mark.parametrize("size", [100_001, 500_000])
def test_data_url_that_is_too_large(size: int) -> None:
    with pytest.raises(UrlError) as caught:
        data_url_bytes("data:image/png;base64," + base64.b64encode(bytes(size)).decode(), LIMITS)
    assert caught.value.code == "image_url_too_large"
    assert len(data_url_bytes("data:image/png;base64," + base64.b64encode(bytes(100_000)).decode(), LIMITS)) == 100_000
