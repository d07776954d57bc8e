"""The process around the application: the listening socket, waitress with its limits, and an orderly end.

Waitress' defaults stop answering when 120 clients connect and say nothing (a limit of 100 connections that are
kept for two minutes); the settings here survived 900.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from edge_runtime import plugins
from edge_runtime.errors import OptionError
from edge_runtime.heap import limit_heap
from edge_runtime.listening import listen, url_of
from server.config import ServerConfig
from server.first_key import make_first_key
from server.key_store import KeyStore

if TYPE_CHECKING:
    from flask import Flask

    from edge_runtime.local import LocalEditor
    from edge_runtime.service import EditService
    from edge_runtime.workers import Workers
    from server.store_watch import StoreWatch

logger = logging.getLogger(__name__)

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
MAX_CONNECTIONS = 4000
DRAIN_SECONDS = 10.0
_BACKLOG = 1024
_KEPT_FILES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen. `port` 0 takes a free one.

    Addresses that other machines reach need `behind_proxy`, which says that a proxy in front ends TLS and has a first
    key made where there is none, or `insecure_public`, which lets everybody in.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    insecure_public: bool = False
    behind_proxy: bool = False

    @property
    def reached_by_name(self) -> bool:
        """Say whether clients may call this server by any name."""
        return self.insecure_public or self.behind_proxy

    def listen(self, has_keys: bool) -> socket.socket:
        """Return a listening socket; raises OptionError when the address is public, wrong or taken."""
        return listen(self.host, self.port, _BACKLOG, lambda private: self._refuse_public(private, has_keys))

    def _refuse_public(self, private: bool, has_keys: bool) -> None:
        if private or self.reached_by_name:
            return
        lack = "without TLS" if has_keys else "and the server has no API keys and no TLS"
        raise OptionError(
            f"this address can be reached from other machines, {lack}",
            got=self.host, allowed="127.0.0.1, ::1, localhost",
            hint="--behind-proxy says that a proxy in front ends TLS, and makes a first key if there is none; "
            "--insecure-public lets in everybody who can reach it",
        )


def serve(address: Address, config: ServerConfig, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then finish what runs, within DRAIN_SECONDS. `ready` is told the URL.

    The socket is opened first, so that a taken port shows before the model is loaded, and clients that come
    early wait instead of failing.
    """
    listening = _listening(address, config)
    limit_heap()
    service = _opened(config)
    from server.app import create_app
    from server.tracing import UNTRACED

    tracing = plugins.load("server.tracers", "otlp")(config.traces) if config.traces else UNTRACED
    settings = config if address.reached_by_name else replace(config, trusted_hosts=LOOPBACK_NAMES)
    try:
        watch = _watch(config, service)
        app = create_app(service, settings, tracing, watch)
        if service.workers is not None:
            app.extensions["nanoedge"].metrics.watch_workers(service.workers)
            service.workers.wait()
        if watch is not None:
            watch.look()
            watch.start()
    except BaseException:
        service.close()
        raise
    loop = _Loop(app, listening, config)
    loop.stop_on_signals()
    ready(url_of(listening))
    loop.run()
    began = time.monotonic()
    drained = loop.drain(DRAIN_SECONDS)
    drained = (watch is None or watch.close(max(0.0, DRAIN_SECONDS - time.monotonic() + began))) and drained
    drained = app.extensions["nanoedge.jobs"].stop(max(0.0, DRAIN_SECONDS - time.monotonic() + began)) and drained
    if not drained:
        logger.warning("work was cut off: it took longer than %g s to end; jobs stay queued", DRAIN_SECONDS)
        # A thread may still compute: unwinding the interpreter under it may crash. Children end with this process.
        sys.stderr.flush()
        os._exit(0)
    service.close()
    app.extensions["nanoedge"].access.close()
    tracing.close()


def _listening(address: Address, config: ServerConfig) -> socket.socket:
    keys = KeyStore(config.state)
    listening = address.listen(keys.in_use)
    try:
        if address.behind_proxy and not keys.in_use:
            if config.state is None:
                raise OptionError("a server without a folder for its state has no API keys", got="--behind-proxy")
            make_first_key(keys, config.state, sys.stderr)
    except BaseException:
        listening.close()
        raise
    finally:
        keys.close()
    return listening


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


def _watch(config: ServerConfig, service: EditService) -> StoreWatch | None:
    """Return what follows the model store; raises StateError for a newer nanoedge's, OptionError for wrong keys."""
    if config.model_folder is None:
        return None
    from edge_runtime.store.layout import Store
    from edge_runtime.store.trust import trusted_keys
    from server.store_watch import StoreWatch

    store = Store(config.model_folder)
    store.check()
    trusted_keys(store, config.model_keys)
    return StoreWatch(store, config.model_keys, service, _Opener(service.workers, config.threads))


@dataclass(frozen=True, slots=True)
class _Opener:
    """Opens models of the store as those of the start were opened: in children, or in this process."""

    workers: Workers | None
    threads: int | None

    def __call__(self, folder: Path, name: str) -> tuple[LocalEditor, Callable[[], object]]:
        if self.workers is None:
            from edge_runtime.editor import Editor

            return Editor.open(folder, threads=self.threads), lambda: None
        workers, editor = self.workers, self.workers.editor(folder, self.threads, name)
        try:
            editor.abilities  # noqa: B018 - waits for it
        except BaseException:
            editor.close()
            workers.forget(editor)
            raise
        return editor, lambda: workers.forget(editor)


class _Loop:
    """Waitress' event loop with an end: its own run() cuts answers off that are still being sent."""

    def __init__(self, app: Flask, listening: socket.socket, config: ServerConfig) -> None:
        from waitress import wasyncore  # type: ignore[import-untyped]
        from waitress.server import create_server  # type: ignore[import-untyped]

        from server.channels import Dispatcher, channel_class
        from server.entrance import Entrance
        from server.rounds import Rounds

        self._close_listener = wasyncore.dispatcher.close
        self._channels: dict[int, Any] = {}
        self._stopping = threading.Event()
        self._app = app
        dispatcher = Dispatcher(config.worker_threads)
        self._server = create_server(
            app, map=self._channels, sockets=[listening], _dispatcher=dispatcher, **_settings(config)
        )
        access = app.extensions["nanoedge"].access
        self._server.channel_class = channel_class(Entrance(access, config.max_body_bytes))
        self._rounds = Rounds(self._server, self._channels)
        # Said at every short queue; the metrics show it better.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT end the loop; a second one ends the draining too."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def run(self) -> None:
        """Serve until a signal."""
        while not self._stopping.is_set():
            self._rounds.once(1)

    def drain(self, seconds: float) -> bool:
        """Stop listening, finish the requests that came in completely; false when that took too long."""
        self._app.extensions["nanoedge"].lane.drain()
        self._app.extensions["nanoedge.jobs"].drain()
        self._stopping.clear()
        # The server's own close() would take the trigger away, which wakes the loop when an answer is ready.
        self._close_listener(self._server)
        deadline = time.monotonic() + seconds
        while self._busy() and time.monotonic() < deadline and not self._stopping.is_set():
            self._rounds.once(0.1)
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
        # Our own limit is checked as soon as the headers are there (channels.py); this one is for bodies in chunks,
        # which don't say how long they are. Up to here the application explains itself.
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
