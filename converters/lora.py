"""Adds low-rank weights to a component's while these are read, one tensor at a time.

How a file of them is read stands in converters/lora_file.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.lora_file import Lora, Pair, few, read_lora
from converters.lora_keys import DENOISERS, Target, kind
from edge_runtime.errors import ConversionError

if TYPE_CHECKING:
    from converters.source import Rows, Weights  # imports torch, which reading does without

__all__ = ["Lora", "fuse", "read_lora", "require_components"]

_SLAB_VALUES: Final = 1 << 22


def fuse(weights: Weights, loras: Sequence[Lora], *, component: str = "transformer", override: bool = False) -> Weights:
    """Return a view of a component's weights with the low-rank weights for it added, in the order given, in float32.

    `weights` have the names of the component's module in diffusers. With `override` a later file's pair takes the place
    of an earlier one's for the same weight, instead of adding up: UMO's file is made so. Pairs for other components
    are left to them, see `require_components`. Raises ConversionError for pairs that fit no tensor, or not its shape.
    """
    names = _Names(name for name in weights.names if len(weights.shape(name)) > 1)
    added: dict[tuple[str, int, int], list[_Addition]] = {}
    for lora in loras:
        mine = [pair for pair in lora.pairs if kind(pair.target.component) == kind(component)]
        if unknown := [pair.down for pair in mine if names.tensor(pair.target) is None]:
            raise ConversionError(
                f"the LoRA {lora.file.path.name} doesn't fit the {component}: there is nothing for {few(unknown)}",
                got=f"{len(unknown)} of {len(mine)} pairs that fit no tensor",
                allowed=f"modules such as {few(names.modules)}",
                hint="take one that was made for this model",
            )
        for pair in mine:
            tensor = names.tensor(pair.target)
            assert tensor is not None
            _check_shape(lora, pair, tensor, weights.shape(tensor))
            place = added.setdefault((tensor, pair.target.part, pair.target.parts), [])
            if override:
                place[:] = [other for other in place if other.lora is lora]
            place.append(_Addition(lora=lora, pair=pair))
    additions: dict[str, list[_Addition]] = {}
    for (tensor, _, _), some in added.items():
        additions.setdefault(tensor, []).extend(some)
    return _Fused(weights, additions)


def require_components(loras: Iterable[Lora], components: Iterable[str]) -> None:
    """Raise ConversionError when a LoRA changes a component that is not among those whose weights get fused."""
    known = list(components)
    for lora in loras:
        if strange := set(lora.components) - {kind(name) for name in known}:
            raise ConversionError(
                f"the LoRA {lora.file.path.name} changes components that this pipeline can't have changed",
                got=", ".join(name or " or ".join(DENOISERS) for name in sorted(strange)),
                allowed=", ".join(known),
            )


@dataclass(frozen=True, slots=True)
class _Addition:
    lora: Lora
    pair: Pair

    def add_to(self, array: NDArray[np.float32]) -> None:
        """Add to a weight in place, some rows at a time."""
        up, down = (self.lora.file.read(name) for name in (self.pair.up, self.pair.down))
        rank = down.shape[0]
        rows = up.shape[0] // self.pair.target.parts
        start = rows * self.pair.target.part
        up = up.reshape(-1, rank)[start : start + rows] * np.float32(self.pair.scale * self.lora.strength)
        down = down.reshape(rank, -1)
        weight = array.reshape(rows, -1)
        step = max(1, _SLAB_VALUES // max(1, weight.shape[1]))
        for first in range(0, rows, step):
            weight[first : first + step] += up[first : first + step] @ down


class _Fused:
    def __init__(self, weights: Weights, additions: Mapping[str, Sequence[_Addition]]) -> None:
        self._weights, self._additions = weights, additions

    @property
    def names(self) -> tuple[str, ...]:
        return self._weights.names

    def shape(self, name: str) -> tuple[int, ...]:
        return self._weights.shape(name)

    def read(self, name: str) -> NDArray[Any]:
        array = self._weights.read(name)
        additions = self._additions.get(name, ())
        if additions and array.dtype != np.float32:
            raise ConversionError(f"tensor {name} holds integers: no LoRA can be added", got=array.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for addition in additions:
                addition.add_to(array)
        if additions and not all(np.isfinite(row).all() for row in array):
            raise ConversionError(
                f"tensor {name} is no longer finite with {additions[-1].lora.name}", hint="take a smaller strength"
            )
        return array

    def rows(self, name: str) -> Rows:
        if name not in self._additions:
            return self._weights.rows(name)
        whole = self.read(name)
        return lambda start, stop: whole[start:stop].copy()


class _Names:
    """Finds the tensor of a target among a component's."""

    def __init__(self, names: Iterable[str]) -> None:
        self._tensors = {name.removesuffix(".weight"): name for name in names if name.endswith(".weight")}
        self._flat = {module.replace(".", "_"): tensor for module, tensor in self._tensors.items()}

    @property
    def modules(self) -> list[str]:
        return list(self._tensors)

    def tensor(self, target: Target) -> str | None:
        known, inner = (self._flat, "text_model_") if target.flat else (self._tensors, "text_model.")
        # transformers' text encoders are saved with and without their inner module's name
        for module in (target.module, target.module.removeprefix(inner), inner + target.module):
            if module in known:
                return known[module]
        return None


def _check_shape(lora: Lora, pair: Pair, tensor: str, wanted: tuple[int, ...]) -> None:
    up, down = (lora.file.tensors[name].shape for name in (pair.up, pair.down))
    got = (up[0] // pair.target.parts, *down[1:])
    if tuple(_significant(got)) != tuple(_significant(wanted)):
        raise ConversionError(
            f"the tensors {pair.up} and {pair.down} of {lora.file.path.name} don't fit {tensor}",
            got=got,
            allowed=wanted,
            hint="take one that was made for this model",
        )


def _significant(shape: tuple[int, ...]) -> Iterator[int]:
    """Yield outputs, inputs and what else counts: a kernel of 1 x 1 is a linear layer."""
    yield from shape[:2]
    if any(size != 1 for size in shape[2:]):
        yield from shape[2:]
