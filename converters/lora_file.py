"""Reads a file of low-rank weights (LoRA, https://arxiv.org/abs/2106.09685): names, shapes and scales.

How tensors are named stands in converters/lora_keys.py, where scales come from in converters/lora_scaling.py; they are
added to a checkpoint's weights in converters/lora.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from converters.lora_keys import Role, Target, kind, parse
from converters.lora_scaling import adapter_settings
from converters.tensor_file import TensorFile, identity
from edge_runtime.errors import ConversionError, OptionError

FORMATS: Final = (
    "NAME.lora_A.weight with NAME.lora_B.weight; NAME.lora_down.weight with NAME.lora_up.weight; "
    "BLOCK.processor.NAME_lora.down.weight with ....up.weight"
)
_FEW: Final = 4


@dataclass(frozen=True, slots=True)
class Pair:
    """Two thin tensors of a file, by name; `scale * up @ down` is added to the target's weight."""

    target: Target
    down: str
    up: str
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A file of low-rank weights, opened; its tensors are read when they are needed."""

    file: TensorFile = field(repr=False)
    strength: float
    pairs: tuple[Pair, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """The file's name, and its strength unless that is 1: for provenance."""
        return self.file.path.name if self.strength == 1 else f"{self.file.path.name}={self.strength:g}"

    @property
    def components(self) -> tuple[str, ...]:
        """The components that it changes, such as "text_encoder"; "" is the denoiser."""
        return tuple(sorted({kind(pair.target.component) for pair in self.pairs}))

    def digest(self) -> str:
        """Return a SHA-256 in hexadecimal over name, size, header and 1 MiB of the file; see `Shards.digest`."""
        return identity([self.file])


def read_lora(spec: str | Path) -> Lora:
    """Open FILE or FILE=STRENGTH; reads names and shapes, and scales.

    Raises ConversionError when the file is no LoRA, is damaged, or its pairs are incomplete or don't fit each other,
    and OptionError for a strength that is no finite number.
    """
    path, strength = _split(str(spec))
    file = TensorFile.open(path)
    found: dict[str, dict[Role, str]] = {}
    targets: dict[str, tuple[Target, ...]] = {}
    strangers = []
    for name in file.tensors:
        key = parse(name)
        if key is None:
            strangers.append(name)
            continue
        tensors = found.setdefault(key.pair, {})
        if key.role in tensors:
            raise ConversionError(
                f"the file {path.name} holds several adapters of {key.pair}",
                got=f"{tensors[key.role]}, {name}",
                allowed="one",
            )
        tensors[key.role] = name
        targets[key.pair] = key.targets
    if strangers or not found:
        raise ConversionError(
            f"the file {path.name} is no LoRA, or one of a kind that is not read", got=few(strangers), allowed=FORMATS
        )
    settings = adapter_settings(file)
    pairs = []
    for module, tensors in found.items():
        rank = _checked_rank(file, module, tensors, len(targets[module]))
        alpha = _alpha(file, tensors[Role.ALPHA]) if Role.ALPHA in tensors else None
        for target in targets[module]:
            scale = settings.scale(target, rank) if alpha is None else alpha / rank
            pairs.append(Pair(target=target, down=tensors[Role.DOWN], up=tensors[Role.UP], scale=scale))
    return Lora(file=file, strength=strength, pairs=tuple(pairs))


def few(names: Sequence[str]) -> str:
    """Return the first of some names, as one line."""
    more = len(names) - _FEW
    return (", ".join(names[:_FEW]) or "no tensors") + (f" and {more} more" if more > 0 else "")


def _split(spec: str) -> tuple[Path, float]:
    """Return path and strength; a file whose name has an equals sign is found too."""
    name, equals, text = spec.rpartition("=")
    if not equals or Path(spec).is_file():
        return Path(spec), 1.0
    try:
        strength = float(text)
    except ValueError:
        strength = math.nan
    if not math.isfinite(strength):
        raise OptionError("the strength of a LoRA can't be used", got=text, allowed="FILE=NUMBER, such as FILE=0.8")
    return Path(name), strength


def _checked_rank(file: TensorFile, module: str, tensors: Mapping[Role, str], parts: int) -> int:
    """Return the rank of a pair whose tensors are there and fit each other."""
    if missing := [role.value for role in (Role.DOWN, Role.UP) if role not in tensors]:
        raise ConversionError(
            f"the tensors of {module} in {file.path.name} are no pair",
            got=", ".join(tensors.values()),
            allowed=f"{' and '.join(missing)} beside it",
            hint="the file is incomplete",
        )
    down, up = (file.tensors[tensors[role]] for role in (Role.DOWN, Role.UP))
    for role, tensor in ((Role.DOWN, down), (Role.UP, up)):
        if "F" not in tensor.dtype:
            raise ConversionError(f"tensor {tensors[role]} of {file.path.name} is not of floats", got=tensor.dtype)
    fits = len(down.shape) >= 2 and len(up.shape) >= 2 and down.shape[0] == up.shape[1] > 0
    if not fits or any(size != 1 for size in up.shape[2:]) or up.shape[0] % parts:
        raise ConversionError(
            f"the two tensors of {module} in {file.path.name} don't fit each other",
            got=f"down {down.shape}, up {up.shape}",
            allowed="down (rank, inputs, ...), up (outputs, rank), both of the same rank"
            + (f", outputs for {parts} modules" if parts > 1 else ""),
        )
    return down.shape[0]


def _alpha(file: TensorFile, name: str) -> float:
    values = file.read(name)
    if values.size != 1:
        raise ConversionError(f"tensor {name} of {file.path.name} is no single number", got=values.shape)
    return float(values.reshape(()))
