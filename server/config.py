"""Every setting of the server in one frozen value. Nothing here reads the environment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from edge_runtime.addresses import Network
from edge_runtime.errors import OptionError
from edge_runtime.state import MODELS
from server.quota import DEFAULT_QUOTA, Quota

MEBIBYTE = 1024 * 1024
IDLE_SECONDS = 300.0
"""Opening a large model again takes seconds to a minute, and it holds gigabytes that other programs of a small machine
can use meanwhile; five minutes are longer than people think between two edits."""

_ORIGIN = re.compile(r"[a-z][a-z+.-]*://[^/\s?#]+")


class Role(str, Enum):
    """What a node is for: the edge decides where edits are done; a central does them, on a GPU, for edges."""

    EDGE = "edge"
    CENTRAL = "central"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What the application needs to know besides the models.

    `max_body_bytes` bounds a request's body; a larger one is answered with 413. `max_waiting` edits may wait while one
    runs, each at most `max_wait_seconds`; the next one is answered with 503. Besides, `max_outgoing` edits may be at
    providers. `providers` is the file that names those; without it nothing ever leaves this machine. `trusted_hosts`
    are the names that a request's Host header may carry (None: any); naming the loopback ones keeps a web page that
    rebinds its own name to 127.0.0.1 from reading answers. `allowed_origins` are further origins that may send
    requests: of browser extensions, `chrome-extension://<id>`. `state` is the folder of what outlives the process
    (keys, jobs); it is made when something is first written there. Without it there are no keys. `store` is where
    results are kept, a folder or s3://bucket/prefix; without it a folder in `state`. Results and ended jobs are kept
    for `keep_seconds`; `quota` bounds what results may take, and jobs again. Webhooks may go to `webhook_networks`
    besides public addresses. `traces` is the address of an OpenTelemetry collector, for OTLP over HTTP; without it
    there are none. `idle_seconds` is how long a model stays loaded unused, 0 for ever; `device` is that of all models
    but the small one, a difference is an error at the start. `in_process` opens the models without children.
    `model_store` is the folder of the model store, whose active versions are served besides, without it `models` in
    `state`; `model_keys` names a file of public keys, one of which must have signed those.
    """

    models: tuple[Path, ...] = ()
    threads: int | None = None
    providers: Path | None = None
    max_body_bytes: int = 32 * MEBIBYTE
    max_waiting: int = 8
    max_wait_seconds: float = 60.0
    max_outgoing: int = 16
    trusted_hosts: tuple[str, ...] | None = None
    allowed_origins: tuple[str, ...] = ()
    state: Path | None = None
    traces: str | None = None
    store: str | None = None
    keep_seconds: float = 86400.0
    quota: Quota = DEFAULT_QUOTA
    webhook_networks: tuple[Network, ...] = ()
    role: Role = Role.EDGE
    idle_seconds: float = IDLE_SECONDS
    device: str = "cpu"
    in_process: bool = False
    model_store: Path | None = None
    model_keys: Path | None = None

    def __post_init__(self) -> None:
        self._check_role()
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise OptionError(
                    "this is not an origin", got=origin, allowed="for example chrome-extension://abcdefghijklmnop",
                    hint="the extension's options show its own",
                )

    def _check_role(self) -> None:
        if self.role is not Role.CENTRAL:
            return
        if self.providers is not None:
            raise OptionError(
                "a central sends nothing on", got=f"--providers {self.providers}", hint="leave --providers out",
            )
        if not self.models and self.model_store is None:
            hint = "name its artifact with --model, or the store that it is in with --model-store"
            raise OptionError("a central needs a model of its own", hint=hint)

    @property
    def model_folder(self) -> Path | None:
        """Return where the model store is; None for a node without a folder for its state."""
        return self.model_store or (None if self.state is None else self.state / MODELS)

    @property
    def worker_threads(self) -> int:
        """Threads that the WSGI server needs so that health is answered while every place is taken."""
        return self.max_waiting + 1 + (self.max_outgoing if self.providers else 0) + SPARE_THREADS


SPARE_THREADS = 7
