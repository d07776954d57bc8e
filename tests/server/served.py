"""An application on a free loopback port by a thread of this process, for tests that hold its model still."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask
from waitress import wasyncore
from waitress.server import create_server


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Serve it; the address is its value. Whoever holds the model still must let it go before the end."""
    channels: dict[int, Any] = {}
    server = create_server(app, map=channels, host="127.0.0.1", port=0)
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            wasyncore.loop(timeout=1, use_poll=True, map=channels, count=1)
        wasyncore.close_all(channels)  # by the thread that watches them: another would pull files from under it

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        stopping.set()
        server.pull_trigger()
        thread.join(5)
        server.task_dispatcher.shutdown()
