"""Whether a request's options suit a model: a planner takes none of those for painting, a painter those it can do."""

from __future__ import annotations

from edge_runtime.errors import InstructionError, OptionError
from edge_runtime.family import Abilities
from edge_runtime.request import EditRequest


def refuse_painting(request: EditRequest, model: str) -> None:
    """Raise OptionError for an option that only models which paint anew have; `model` is this one's name."""
    given = {
        "image": request.references, "steps": request.steps is not None, "seed": request.seed is not None,
        "guidance_scale": request.guidance, "negative_prompt": request.negative is not None,
        "preview": request.previews,
    }
    for name, value in given.items():
        if value:
            what = "takes one photo" if name == "image" else f"has no {name.replace('_', ' ')}"
            raise OptionError(
                f"{model} {what}", got=f"{1 + len(request.references)} pictures" if name == "image" else name,
                hint="leave it out, or choose a model that paints, such as dreamlite", param=name,
                code="too_many_images" if name == "image" else "",
            )


def check_painting(request: EditRequest, abilities: Abilities, model: str) -> None:
    """Raise InputError for what a model that paints can't be asked for."""
    if request.plan is not None:
        raise InstructionError(
            f"{model} paints from words and has no plans", got="a plan", hint="give an instruction instead",
            param="plan",
        )
    if (count := 1 + len(request.references)) > abilities.pictures:
        raise OptionError(
            f"too many pictures for {model}", got=count,
            allowed="one" if abilities.pictures == 1 else f"at most {abilities.pictures}", code="too_many_images",
            param="image",
        )
    if request.mask is not None and not abilities.mask:
        raise OptionError(
            f"{model} makes a new picture and can't edit only a part of one", got="a mask",
            hint="leave the mask out, or choose another model", param="mask",
        )
    allowed = ", ".join(abilities.guidance) or f"none: {model} is distilled and has no guidance"
    for name in request.guidance:
        if name not in abilities.guidance and (name or not abilities.guidance):
            raise OptionError("no such guidance", got=name or "a number", allowed=allowed, param="guidance_scale")
    if request.negative is not None and not abilities.negative:
        raise OptionError(
            f"{model} can't be told what not to show", got="a negative prompt", hint="say what shall be seen instead",
            param="negative_prompt",
        )
