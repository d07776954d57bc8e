"""Opening the socket that a server of ours listens on: one place for what can go wrong, and for who may reach it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address

from edge_runtime.errors import OptionError


def listen(host: str, port: int, backlog: int, check: Callable[[bool], None]) -> socket.socket:
    """Return a listening socket; raises OptionError when the host is unknown or the port is taken.

    `port` 0 takes a free one. `check` is told whether only this machine reaches the address, and may raise.
    """
    try:
        family, _, _, _, sockaddr = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise OptionError("the host is not known", got=host, hint="try --host 127.0.0.1") from error
    check(ip_address(str(sockaddr[0]).partition("%")[0]).is_loopback)
    try:
        return socket.create_server(sockaddr[:2], family=family, backlog=backlog)
    except OSError as error:
        raise OptionError(
            f"can't listen on {host} port {port} ({error.strerror or error})",
            hint=f"is another server running there? Try --port {(port + 1) % 65536}",
        ) from error


def url_of(listening: socket.socket) -> str:
    """Return the address to type into a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
