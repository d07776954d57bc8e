"""Fits tensors of any size to graphs of fixed shapes: fills inputs up at their end, cuts outputs off again.

A file of such a format has one or more signatures, each the same graph for another size. The component's symbols stay;
a signature says what each of them is in it. docs/artifact-format.md, "Fixed sizes", is the specification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from edge_runtime.errors import EngineError
from edge_runtime.manifest import Component
from edge_runtime.tensors import Tensor, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One size of a graph.

    `sizes` has the size of every symbol of the component's tensors; `told` are symbols whose real size the graph takes
    as a further input of that name, float32 (1,).
    """

    name: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    told: tuple[str, ...] = ()

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Return whether tensors of these sizes fit."""
        return all(sizes[symbol] <= size for symbol, size in self.sizes.items())

    def fit(self, component: Component, inputs: Mapping[str, Tensor], sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Return the graph's inputs for the component's."""
        feeds = {spec.name: _filled(inputs[spec.name], self._shape(spec)) for spec in component.inputs}
        return {**feeds, **{symbol: np.array([sizes[symbol]], np.float32) for symbol in self.told}}

    def cut(self, component: Component, outputs: Mapping[str, Tensor], sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Return the component's outputs of the graph's."""
        return {spec.name: _cut(outputs[spec.name], spec, sizes) for spec in component.outputs}

    def _shape(self, spec: TensorSpec) -> tuple[int, ...]:
        return tuple(self.sizes[size] if isinstance(size, str) else size for size in spec.shape)


def read_signature(component: Component, name: str, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> Signature:
    """Return a signature by what the file says of it: name of a tensor -> dtype and shape, inputs and outputs alike.

    Raises EngineError when it differs from the component.
    """
    sizes: dict[str, int] = {}
    for spec in (*component.inputs, *component.outputs):
        dtype, shape = tensors.get(spec.name, ("missing", ()))
        fits = dtype == spec.dtype and len(shape) == len(spec.shape) and all(
            actual == (size if isinstance(size, int) else sizes.setdefault(size, actual))
            for size, actual in zip(spec.shape, shape, strict=True)
        )
        if not fits:
            raise EngineError(
                f"the tensor {spec.name} of {component.name} differs from the manifest",
                got=f"{dtype} {shape}, in signature {name}", allowed=spec, hint="convert the model again",
            )
    told = tensors.keys() - {spec.name for spec in (*component.inputs, *component.outputs)}
    if odd := {other for other in told if other not in sizes or tensors[other] != ("float32", (1,))}:
        raise EngineError(
            f"signature {name} of {component.name} has a tensor that the manifest doesn't have",
            got=", ".join(sorted(odd)), hint="convert the model again",
        )
    return Signature(name=name, sizes=sizes, told=tuple(sorted(told)))


def smallest(component: Component, signatures: Sequence[Signature], sizes: Mapping[str, int]) -> Signature:
    """Return the signature with the fewest elements that inputs of these sizes fit into; raises EngineError."""
    fitting = [signature for signature in signatures if signature.holds(sizes)]
    if not fitting:
        raise EngineError(
            f"the inputs of {component.name} are larger than any of its sizes", got=_listed(sizes),
            allowed="; ".join(_listed(signature.sizes) for signature in signatures),
            hint="cut them into tiles, or convert the model with a larger size",
        )
    return min(fitting, key=lambda signature: prod(signature.sizes.values()))


def _filled(array: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Fill an array up at the end of each axis: with zeros for codes, by repeating the last element for all others."""
    if array.shape == shape:
        return np.ascontiguousarray(array)
    whole = (np.zeros if array.dtype in (np.int32, np.int64) else np.empty)(shape, array.dtype)
    whole[tuple(slice(size) for size in array.shape)] = array
    if array.dtype in (np.int32, np.int64):
        return whole
    for axis, size in enumerate(array.shape):
        if size < shape[axis]:
            before = (slice(None),) * axis
            whole[(*before, slice(size, None))] = whole[(*before, slice(size - 1, size))]
    return whole


def _cut(array: Tensor, spec: TensorSpec, sizes: Mapping[str, int]) -> Tensor:
    shape = [sizes[size] if isinstance(size, str) else size for size in spec.shape]
    return np.ascontiguousarray(array[tuple(slice(size) for size in shape)])


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{symbol} {size}" for symbol, size in sorted(sizes.items())) or "one size"
