"""What a provider's error answer says, whatever its form. Pure functions on answers."""

from __future__ import annotations

import json
import re
import time
from email.utils import parsedate_to_datetime
from typing import Final

from edge_runtime.errors import RouteDeadlineError, RouteForbiddenError
from edge_runtime.wire import Answer

_MODERATION: Final = (
    "moderation", "moderated", "content_policy", "content policy", "safety system", "datainspectionfailed",
    "prohibited_content",
)  # fmt: skip
_RETRY_INFO: Final = re.compile(rb'"retryDelay"\s*:\s*"([0-9]{1,6}(?:\.[0-9]{1,9})?)s"')
_PLAIN_BYTES: Final = 200


def retry_after(answer: Answer) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date, or of Google's RetryInfo; None without any."""
    if (told := _RETRY_INFO.search(answer.body)) and "retry-after" not in answer.headers:
        return float(told[1])
    text = answer.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def message(answer: Answer) -> str:
    """Return what an error answer says, whatever its form: OpenAI's, FastAPI's, Google's, DashScope's or plain text."""
    try:
        data = json.loads(answer.body)
    except (ValueError, RecursionError):
        return answer.body[:_PLAIN_BYTES].decode("utf-8", "replace")
    found = data.get("error", data) if isinstance(data, dict) else data
    if isinstance(found, dict):
        found = " ".join(str(found[name]) for name in ("code", "message", "detail", "status") if found.get(name))
    return str(found)


def is_rule(answer: Answer) -> bool:
    """Say whether a node refuses this edit by a rule about passing on, which is no word about the key it was sent."""
    return answer.status == 403 and message(answer).startswith(RouteForbiddenError.default_code)


def is_late(answer: Answer) -> bool:
    """Say whether a node has given this edit up because its time is too short: it is well, and nothing more comes."""
    return answer.status == 504 and message(answer).startswith(RouteDeadlineError.default_code)


def is_moderation(answer: Answer) -> bool:
    """Say whether an error answer refuses the content."""
    text = message(answer).lower()
    return 400 <= answer.status < 500 and answer.status != 429 and any(word in text for word in _MODERATION)
