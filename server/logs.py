"""What the server writes to stderr: text for people, or one JSON object a line for machines, with a line per request.

JSON lines never hold pictures, instructions or keys: an unexpected error is told by its kind and where it arose,
without its message, which may quote what a user sent. Text shows people the message too.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from flask import g, has_request_context

_REQUESTS: Final = logging.getLogger("server.requests")
_KEY: Final = re.compile(r"\bne_([0-9A-Za-z]{8})_[0-9A-Za-z]+")
_STACK_DEPTH: Final = 20


class LogForm(str, Enum):
    """How the log is written."""

    TEXT = "text"
    JSON = "json"


def begin(form: LogForm) -> None:
    """Write the log of this process to stderr, warnings in text, or also every request in JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_without_keys)
    if form is LogForm.JSON:
        handler.setFormatter(JsonLines())
        logging.getLogger("server").setLevel(logging.INFO)
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def listening(url: str) -> None:
    """Write the line that says where the server listens."""
    logging.getLogger(__name__).info("nanoedge serves on %s", url)


def answered(members: Mapping[str, object]) -> None:
    """Write the line of one answered request."""
    _REQUESTS.info("answered", extra={"members": members})


class JsonLines(logging.Formatter):
    """One JSON object a record: when, how grave, who says what, about which request."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage(),
        }
        if has_request_context() and "request_id" in g:
            line["request_id"] = g.request_id
        line.update(getattr(record, "members", {}))
        if record.exc_info and record.exc_info[1] is not None:
            line.update(_told(record.exc_info[1]))
        return json.dumps(line, ensure_ascii=False, default=str)


def _told(error: BaseException) -> dict[str, object]:
    """Return an error's code or kind, and the places it came through, the innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-_STACK_DEPTH:]
    return {
        "error": getattr(error, "code", type(error).__name__),
        "stack": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _without_keys(record: logging.LogRecord) -> bool:
    """Blacken API keys in a message, wherever they came from."""
    said = record.getMessage()
    if (clean := _KEY.sub(r"ne_\1_***", said)) != said:
        record.msg, record.args = clean, None
    return True
