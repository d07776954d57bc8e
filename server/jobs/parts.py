"""A job's request as parts that are sealed one by one: its options as JSON, its pictures as they came."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from typing import Any, Final

from edge_runtime.request import EditRequest, Fallback, Size
from server.jobs.job import Wanted, Webhook

OPTIONS: Final = "options"
RESULT: Final = "result"
OUTCOME: Final = "outcome"
RECEIPT: Final = "receipt"
WEBHOOK: Final = "webhook"
_PICTURES: Final = ("image", "mask", "references")


def to_parts(wanted: Wanted) -> dict[str, bytes]:
    """Return the parts by role."""
    request, parts = wanted.request, {"image": wanted.request.image}
    if request.mask is not None:
        parts["mask"] = request.mask
    parts |= {f"reference{number}": picture for number, picture in enumerate(request.references)}
    options = {"edit": _options(request), "stored": wanted.stored, "warnings": wanted.warnings}
    parts[OPTIONS] = json.dumps(options).encode()
    if wanted.webhook is not None:
        parts[WEBHOOK] = json.dumps(asdict(wanted.webhook)).encode()
    return parts


def from_parts(parts: Mapping[str, bytes]) -> Wanted:
    """Return what `to_parts` took apart."""
    options = json.loads(parts[OPTIONS])
    edit: dict[str, Any] = options["edit"]
    if edit.get("size"):
        edit["size"] = Size(**edit["size"])
    if edit.get("fallback"):
        edit["fallback"] = Fallback(edit["fallback"])
    references = sorted(role for role in parts if role.startswith("reference"))
    request = EditRequest(
        image=parts["image"], mask=parts.get("mask"), references=tuple(parts[role] for role in references), **edit
    )
    return Wanted(request=request, stored=options["stored"], warnings=tuple(options["warnings"]))


def webhook(part: bytes) -> Webhook:
    """Return the webhook of a part."""
    return Webhook(**json.loads(part))


def _options(request: EditRequest) -> dict[str, Any]:
    named = ((member.name, getattr(request, member.name)) for member in fields(request))
    return {name: _plain(value) for name, value in named if name not in _PICTURES and not _is_given(value)}


def _is_given(value: Any) -> bool:
    """Say whether a member is no wish of the request but a rule for it: whoever runs the job finds the present one."""
    return is_dataclass(value) and not isinstance(value, Size)


def _plain(value: Any) -> Any:
    if isinstance(value, Size):
        return asdict(value)
    if isinstance(value, Enum):
        return value.value
    return dict(value) if isinstance(value, Mapping) else value
