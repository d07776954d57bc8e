"""Requests, steps and results as JSON and bytes, for the way between a process and the child that runs a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from edge_runtime.family import Abilities
from edge_runtime.images import Photo
from edge_runtime.messages import Message, Part
from edge_runtime.plan import Edit, Plan, Vocabulary
from edge_runtime.request import EditRequest, EditResult, Size, Step

_OPTIONS = (
    "instruction", "model", "output_format", "quality", "steps", "seed", "negative", "previews",
)  # fmt: skip


def pictures_of(request: EditRequest) -> tuple[bytes, ...]:
    """Return the encoded pictures of a request in the order of their numbers in the message: photo, others, mask."""
    return (request.image, *request.references, *(() if request.mask is None else (request.mask,)))


def request_message(request: EditRequest) -> Message:
    """Return a request without its pictures, which are numbers there; what says where it may be done is left out."""
    fields = {name: getattr(request, name) for name in _OPTIONS}
    return Message("edit", {
        **fields, "plan": request.plan, "guidance": dict(request.guidance), "references": len(request.references),
        "mask": request.mask is not None, "size": size_fields(request.size),
    })  # fmt: skip


def request_from(fields: Mapping[str, Any]) -> EditRequest:
    """Return the request; its pictures are the numbers that `number_of` reads."""
    count = int(fields["references"])
    return EditRequest(
        image=b"0", references=tuple(str(number).encode() for number in range(1, count + 1)),
        mask=str(count + 1).encode() if fields["mask"] else None, plan=fields["plan"], guidance=fields["guidance"],
        size=size_from(fields["size"]), **{name: fields[name] for name in _OPTIONS},
    )


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
    fields = message.fields
    return Photo(
        pixels=_pixels(message.parts[0], fields), has_alpha=fields["has_alpha"], source_format=fields["source_format"],
        warnings=tuple(fields["warnings"]),
    )


def step_message(step: Step) -> Message:
    """Return a step, its preview's pixels as a part."""
    fields = {name: getattr(step, name) for name in ("stage", "fraction", "note", "done", "steps")}
    if step.preview is None:
        return Message("step", fields)
    height, width = step.preview.shape[:2]
    part = np.ascontiguousarray(step.preview).data
    return Message("step", {**fields, "width": width, "height": height}, (part,))


def step_from(message: Message) -> Step:
    """Return the step."""
    fields = dict(message.fields)
    if not message.parts:
        return Step(**fields)
    preview = _pixels(message.parts[0], fields)
    return Step(preview=preview, **{name: fields[name] for name in fields.keys() - {"width", "height"}})


def result_message(result: EditResult) -> Message:
    """Return a result, its picture as a part. What the service adds (route, cost) is not yet there."""
    plain = asdict(replace(result, image=b"", plan=None, route=None))
    plain["plan"] = None if result.plan is None else plan_fields(result.plan)
    return Message("result", {**plain, "image": None}, (result.image,))


def result_from(message: Message) -> EditResult:
    """Return the result."""
    fields = dict(message.fields)
    fields["plan"] = None if fields["plan"] is None else plan_from(fields["plan"])
    fields["warnings"] = tuple(fields["warnings"])
    return EditResult(**{**fields, "image": bytes(message.parts[0])})


def plan_fields(plan: Plan) -> dict[str, Any]:
    """Return a plan with its numbers unrounded."""
    return asdict(plan)


def plan_from(fields: Mapping[str, Any]) -> Plan:
    """Return the plan."""
    return Plan(edits=tuple(Edit(**edit) for edit in fields["edits"]), beyond=fields["beyond"])


def kind_fields(vocabulary: Vocabulary, abilities: Abilities | None) -> dict[str, Any]:
    """Return what a model can be asked for."""
    return {
        "vocabulary": {
            "adjustments": [asdict(one) for one in vocabulary.adjustments], "regions": vocabulary.regions,
            "colors": dict(vocabulary.colors),
        },
        "abilities": None if abilities is None else {**asdict(abilities), "guidance": dict(abilities.guidance)},
    }  # fmt: skip


def kind_from(fields: Mapping[str, Any]) -> tuple[Vocabulary, Abilities | None]:
    """Return vocabulary and abilities."""
    abilities = fields["abilities"]
    return Vocabulary.from_json(fields["vocabulary"]), None if abilities is None else Abilities(**abilities)


def _pixels(part: Part, fields: Mapping[str, Any]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.frombuffer(part, np.uint8).reshape(fields["height"], fields["width"], 4)
