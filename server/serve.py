"""The process around the application: the listening socket, waitress with its limits, and an orderly end.

Waitress' defaults stop answering when 120 clients connect and say nothing (a limit of 100 connections that are
kept for two minutes); the settings here survived 900.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from types import FrameType
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import OptionError
from edge_runtime.heap import limit_heap
from server.config import ServerConfig

if TYPE_CHECKING:
    from flask import Flask

    from edge_runtime.service import EditService

logger = logging.getLogger(__name__)

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
MAX_CONNECTIONS = 4000
DRAIN_SECONDS = 10.0
_BACKLOG = 1024
_KEPT_FILES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen. `port` 0 takes a free one. Addresses beyond this machine need `insecure_public`."""

    host: str = "127.0.0.1"
    port: int = 8080
    insecure_public: bool = False

    def listen(self) -> socket.socket:
        """Return a listening socket; raises OptionError when the address is public, wrong or taken."""
        try:
            family, _, _, _, sockaddr = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
        except socket.gaierror as error:
            raise OptionError("the host is not known", got=self.host, hint="try --host 127.0.0.1") from error
        if not ip_address(str(sockaddr[0]).partition("%")[0]).is_loopback and not self.insecure_public:
            raise OptionError(
                "this address can be reached from other machines, and the server has no keys yet",
                got=self.host, allowed="127.0.0.1, ::1, localhost",
                hint="add --insecure-public if everybody who can reach it may use it",
            )
        try:
            return socket.create_server(sockaddr[:2], family=family, backlog=_BACKLOG)
        except OSError as error:
            raise OptionError(
                f"can't listen on {self.host} port {self.port} ({error.strerror or error})",
                hint=f"is another server running there? Try --port {(self.port + 1) % 65536}",
            ) from error


def serve(address: Address, config: ServerConfig, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then finish what runs, within DRAIN_SECONDS. `ready` is told the URL.

    The socket is opened first, so that a taken port shows before the model is loaded, and clients that come
    early wait instead of failing.
    """
    listening = address.listen()
    limit_heap()
    service = _opened(config)
    from server.app import create_app

    try:
        app = create_app(service, config if address.insecure_public else replace(config, trusted_hosts=LOOPBACK_NAMES))
        if service.workers is not None:
            app.extensions["nanoedge"].metrics.watch_workers(service.workers)
            service.workers.wait()
    except BaseException:
        service.close()
        raise
    host, port = listening.getsockname()[:2]
    loop = _Loop(app, listening, config)
    loop.stop_on_signals()
    ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    loop.run()
    if not loop.drain(DRAIN_SECONDS):
        logger.warning("work was cut off: it took longer than %g s to end", DRAIN_SECONDS)
        # A thread may still compute: unwinding the interpreter under it may crash. Children end with this process.
        sys.stderr.flush()
        os._exit(0)
    service.close()


def _opened(config: ServerConfig) -> EditService:
    """Return the service. Its children open the models while this process goes on to load the application."""
    from edge_runtime.service import open_service

    if config.in_process:
        return open_service(config.models, config.threads, config.providers)
    from edge_runtime.workers import Crew, Workers

    workers = Workers(Crew(idle_seconds=config.idle_seconds or None, device=config.device))
    try:
        return open_service(config.models, config.threads, config.providers, workers)
    except BaseException:
        workers.close()
        raise


class _Loop:
    """Waitress' event loop with an end: its own run() cuts answers off that are still being sent."""

    def __init__(self, app: Flask, listening: socket.socket, config: ServerConfig) -> None:
        from waitress import wasyncore  # type: ignore[import-untyped]
        from waitress.server import create_server  # type: ignore[import-untyped]

        self._poll = wasyncore.loop
        self._close_listener = wasyncore.dispatcher.close
        self._channels: dict[int, Any] = {}
        self._stopping = threading.Event()
        self._app = app
        self._server = create_server(app, map=self._channels, sockets=[listening], **_settings(config))
        self._server.channel_class = _channel_class()
        # Said at every short queue; the metrics show it better.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT end the loop; a second one ends the draining too."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def run(self) -> None:
        """Serve until a signal."""
        while not self._stopping.is_set():
            self._poll(timeout=1, use_poll=True, map=self._channels, count=1)

    def drain(self, seconds: float) -> bool:
        """Stop listening, finish the requests that came in completely; false when that took too long."""
        self._app.extensions["nanoedge"].lane.drain()
        self._stopping.clear()
        # The server's own close() would take the trigger away, which wakes the loop when an answer is ready.
        self._close_listener(self._server)
        deadline = time.monotonic() + seconds
        while self._busy() and time.monotonic() < deadline and not self._stopping.is_set():
            self._poll(timeout=0.1, use_poll=True, map=self._channels, count=1)
        return not self._busy()

    def _busy(self) -> bool:
        return any(channel.requests or channel.total_outbufs_len for channel in self._server.active_channels.values())

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()
        self._server.pull_trigger()


def _settings(config: ServerConfig) -> dict[str, Any]:
    return {
        "threads": config.worker_threads,
        "connection_limit": min(MAX_CONNECTIONS, (_raise_open_files() - _KEPT_FILES) // 2),
        "asyncore_use_poll": True,
        "backlog": _BACKLOG,
        "channel_timeout": 10,
        "cleanup_interval": 3,
        # Twice our own limit: up to here the application reads on and explains itself, beyond it the
        # connection is closed while the client still sends, and some clients then miss the answer.
        "max_request_body_size": 2 * config.max_body_bytes,
        "max_request_header_size": 32 * 1024,
        # A client that doesn't read its answer must not hold a thread: what it doesn't read waits in a file.
        "outbuf_high_watermark": 1024**3,
        # Read on during an edit in order to notice that the client has left.
        "channel_request_lookahead": 1,
        "ident": "nanoedge",
    }


def _raise_open_files() -> int:
    """Raise the limit of open files as far as allowed and return it; each connection may need two."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit for sockets.
        return 3 * MAX_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MAX_CONNECTIONS + _KEPT_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


def _channel_class() -> type:
    """Return waitress' channel with error answers as problems: those for requests that never reach the application."""
    from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
    from waitress.task import ErrorTask  # type: ignore[import-untyped]

    from server.problems import MEDIA_TYPE, problem

    class ProblemTask(ErrorTask):  # type: ignore[misc]
        def execute(self) -> None:
            error = self.request.error
            code = error.reason.lower().replace(" ", "_")
            body = json.dumps(problem(error.code, f"{error.reason}: {error.body}.", code=code)).encode()
            self.status = f"{error.code} {error.reason}"
            self.response_headers.append(("Content-Type", MEDIA_TYPE))
            self.set_close_on_finish()
            self.content_length = len(body)
            self.write(body)

    class ProblemChannel(HTTPChannel):  # type: ignore[misc]
        error_task_class = ProblemTask

    return ProblemChannel
