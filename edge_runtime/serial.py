"""Requests, steps and results as JSON and bytes, for the way between a process and the child that runs a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np

from edge_runtime.family import Abilities
from edge_runtime.images import Photo
from edge_runtime.messages import Message, Part
from edge_runtime.plan import Edit, Plan, Vocabulary
from edge_runtime.request import EditRequest, EditResult, Size, Step

_PLACING = ("fallback", "deadline_seconds", "max_cost_usd")
_PLAIN = (str, int, float, bool, type(None))


def pictures_of(request: EditRequest) -> tuple[bytes, ...]:
    """Return the encoded pictures of a request in the order of their numbers in the message: photo, others, mask."""
    return (request.image, *request.references, *(() if request.mask is None else (request.mask,)))


def request_message(request: EditRequest) -> Message:
    """Return a request without its pictures, which are numbers there; what says where it may be done is left out.

    Members with plain values go along whatever they are called, so that a new option needs no change here.
    """
    members = {member.name: getattr(request, member.name) for member in fields(request)}
    plain = {name: value for name, value in members.items() if isinstance(value, _PLAIN) and name not in _PLACING}
    return Message("edit", {
        "plain": plain, "plan": request.plan, "guidance": dict(request.guidance),
        "references": len(request.references), "mask": request.mask is not None, "size": size_fields(request.size),
    })  # fmt: skip


def request_from(told: Mapping[str, Any]) -> EditRequest:
    """Return the request; in place of its pictures it has their numbers, as text."""
    count = int(told["references"])
    special = {
        "image": b"0", "references": tuple(str(number).encode() for number in range(1, count + 1)),
        "mask": str(count + 1).encode() if told["mask"] else None, "plan": told["plan"], "guidance": told["guidance"],
        "size": size_from(told["size"]),
    }  # fmt: skip
    return EditRequest(**{**told["plain"], **special})


def size_fields(size: Size | None) -> Sequence[int] | None:
    """Return a box as a pair of numbers."""
    return None if size is None else (size.width, size.height)


def size_from(sides: Sequence[int] | None) -> Size | None:
    """Return the box of a pair of numbers."""
    return None if sides is None else Size(width=sides[0], height=sides[1])


def photo_message(photo: Photo) -> Message:
    """Return decoded pixels as they lie in memory."""
    height, width = photo.pixels.shape[:2]
    return Message("photo", {
        "width": width, "height": height, "has_alpha": photo.has_alpha, "source_format": photo.source_format,
        "warnings": photo.warnings,
    }, (np.ascontiguousarray(photo.pixels).data,))  # fmt: skip


def photo_from(message: Message) -> Photo:
    """Return the photo; its pixels are the message's part itself, not a copy."""
    told = message.fields
    return Photo(
        pixels=_pixels(message.parts[0], told), has_alpha=told["has_alpha"], source_format=told["source_format"],
        warnings=tuple(told["warnings"]),
    )


def step_message(step: Step) -> Message:
    """Return a step, its preview's pixels as a part."""
    told = {name: getattr(step, name) for name in ("stage", "fraction", "note", "done", "steps")}
    if step.preview is None:
        return Message("step", told)
    height, width = step.preview.shape[:2]
    part = np.ascontiguousarray(step.preview).data
    return Message("step", {**told, "width": width, "height": height}, (part,))


def step_from(message: Message) -> Step:
    """Return the step."""
    told = dict(message.fields)
    if not message.parts:
        return Step(**told)
    preview = _pixels(message.parts[0], told)
    return Step(preview=preview, **{name: told[name] for name in told.keys() - {"width", "height"}})


def result_message(result: EditResult) -> Message:
    """Return a result, its picture as a part. What the service adds (route, cost) is not yet there."""
    plain = asdict(replace(result, image=b"", plan=None, route=None))
    plain["plan"] = None if result.plan is None else plan_fields(result.plan)
    return Message("result", {**plain, "image": None}, (result.image,))


def result_from(message: Message) -> EditResult:
    """Return the result."""
    told = dict(message.fields)
    told["plan"] = None if told["plan"] is None else plan_from(told["plan"])
    told["warnings"] = tuple(told["warnings"])
    return EditResult(**{**told, "image": bytes(message.parts[0])})


def plan_fields(plan: Plan) -> dict[str, Any]:
    """Return a plan with its numbers unrounded."""
    return asdict(plan)


def plan_from(told: Mapping[str, Any]) -> Plan:
    """Return the plan."""
    return Plan(edits=tuple(Edit(**edit) for edit in told["edits"]), beyond=told["beyond"])


def kind_fields(vocabulary: Vocabulary, abilities: Abilities | None) -> dict[str, Any]:
    """Return what a model can be asked for."""
    return {
        "vocabulary": {
            "adjustments": [asdict(one) for one in vocabulary.adjustments], "regions": vocabulary.regions,
            "colors": dict(vocabulary.colors),
        },
        "abilities": None if abilities is None else {**asdict(abilities), "guidance": dict(abilities.guidance)},
    }  # fmt: skip


def kind_from(told: Mapping[str, Any]) -> tuple[Vocabulary, Abilities | None]:
    """Return vocabulary and abilities."""
    abilities = told["abilities"]
    return Vocabulary.from_json(told["vocabulary"]), None if abilities is None else Abilities(**abilities)


def _pixels(part: Part, told: Mapping[str, Any]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.frombuffer(part, np.uint8).reshape(told["height"], told["width"], 4)
