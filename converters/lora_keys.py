"""What the tensors of a low-rank file are called, by whoever wrote it: their names -> modules of a component.

Three ways of naming are read: `lora_A`/`lora_B` (PEFT, diffusers), `lora_down`/`lora_up`/`alpha` (Lightning, kohya),
and the `processor` names of XLabs, which UNO and UMO use: https://github.com/bytedance/UNO, uno/flux/modules/layers.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

DENOISER: Final = ""
"""The component of names without a prefix: the transformer or the UNet, whichever the pipeline has."""

DENOISERS: Final = ("transformer", "unet")
_COMPONENTS: Final = (*DENOISERS, "text_encoder", "text_encoder_2", "text_encoder_3")
_FLAT: Final[Mapping[str, str]] = {
    "lora_unet_": DENOISER, "lora_transformer_": DENOISER,
    "lora_te_": "text_encoder", "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2", "lora_te3_": "text_encoder_3",
}  # fmt: skip

_PAIR: Final = re.compile(r"(?P<module>.+)\.lora_(?P<role>A|B|down|up)(\.\w+)?\.weight")
_ALPHA: Final = re.compile(r"(?P<module>.+)\.alpha")
_XLABS: Final = re.compile(
    r"(?P<module>(diffusion_model\.)?(?P<kind>double|single)_blocks\.(?P<block>\d+)\.processor"
    r"\.(?P<layer>qkv|proj)_lora(?P<stream>[12]?))\.(?P<role>down|up)\.weight"
)
_XLABS_TARGETS: Final[Mapping[tuple[str, str, str], tuple[str, ...]]] = {
    ("double", "1", "qkv"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("double", "1", "proj"): ("attn.to_out.0",),
    ("double", "2", "qkv"): ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    ("double", "2", "proj"): ("attn.to_add_out",),
    ("single", "", "qkv"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("single", "", "proj"): ("proj_out",),
}
"""Block, stream (1 the picture's, 2 the text's) and layer -> modules, each with its share of the rows of `up`."""


class Role(Enum):
    """What a tensor is to its module."""

    DOWN = "down"
    UP = "up"
    ALPHA = "alpha"


@dataclass(frozen=True, slots=True)
class Target:
    """A module that a pair changes: `component` a folder's name or DENOISER.

    `flat` says that `module` is written with underscores for dots. The pair's rows of `up` are cut into `parts` equal
    ones, and this module gets number `part`.
    """

    component: str
    module: str
    flat: bool = False
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Key:
    """A tensor's name, understood: tensors of one `pair` belong together."""

    pair: str
    role: Role
    targets: tuple[Target, ...]


def parse(name: str) -> Key | None:
    """Return what a tensor is, or None when it is nothing of a low-rank pair."""
    if match := _XLABS.fullmatch(name):
        return _xlabs(match)
    if match := _PAIR.fullmatch(name):
        role = Role.DOWN if match["role"] in ("A", "down") else Role.UP
    elif match := _ALPHA.fullmatch(name):
        role = Role.ALPHA
    else:
        return None
    return Key(pair=match["module"], role=role, targets=(_target(match["module"]),))


def kind(component: str) -> str:
    """Return DENOISER for either denoiser, any other component's name as it is."""
    return DENOISER if component in DENOISERS else component


def _target(module: str) -> Target:
    for prefix, component in _FLAT.items():
        if module.startswith(prefix):
            return Target(component=component, module=module.removeprefix(prefix), flat=True)
    module = module.removeprefix("base_model.model.")
    component, dot, rest = module.partition(".")
    if dot and component in _COMPONENTS:
        return Target(component=component, module=rest)
    return Target(component=DENOISER, module=module.removeprefix("diffusion_model."))


def _xlabs(match: re.Match[str]) -> Key | None:
    modules = _XLABS_TARGETS.get((match["kind"], match["stream"], match["layer"]))
    if modules is None:
        return None
    block = f"{'single_' if match['kind'] == 'single' else ''}transformer_blocks.{match['block']}"
    return Key(
        pair=match["module"],
        role=Role(match["role"]),
        targets=tuple(
            Target(component=DENOISER, module=f"{block}.{module}", part=part, parts=len(modules))
            for part, module in enumerate(modules)
        ),
    )
