"""Runs a component in torch with its weights read when they are needed: the reference that any machine can afford.

A module of 12 billion parameters runs in the memory of its largest layer. Nothing here knows file formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from converters.quiet import quiet
from converters.source import Arrays, ComponentSource, Range, run_module
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import Tensor

Read = Callable[[str], NDArray[Any]]
"""State-dict name -> values."""

HELD_VALUES: Final = 1 << 16
"""Tensors up to this size are read once and kept; larger ones are read whenever they are used."""

_VALUE_PROPERTIES: Final = ("T", "mT", "H", "mH", "data", "real", "imag")
_DESCRIPTIONS: Final = ("size", "dim", "numel", "stride", "is_floating_point", "is_complex", "__len__", "__hash__")

Progress = Callable[[int, int], None]


def run_streamed(
    component: ComponentSource, inputs: Arrays, read: Read, progress: Progress = lambda done, total: None
) -> dict[str, Tensor]:
    """Return the outputs by name; raises ConversionError when the module computes with a tensor that has no values.

    `progress` is called with the number of tensors read and of all.
    """
    return _run(_hollow(component), component, inputs, read, progress)


def filled(component: ComponentSource) -> nn.Module:
    """Return the component's module with all its weights in memory; raises ConversionError for one without values."""
    module, read = _hollow(component), read_source(component)
    assert component.weights is not None
    known = {*component.weights.names, *component.constants}
    if missing := [name for name in module.state_dict() if name not in known]:
        raise ConversionError(f"{component.name}: the checkpoint lacks tensors", got=", ".join(missing))
    module.load_state_dict({name: torch.from_numpy(read(name)) for name in module.state_dict()}, assign=True)
    return module.requires_grad_(False)


def convolution_ranges(component: ComponentSource, samples: Iterable[Arrays]) -> dict[str, Range]:
    """Return the ranges of every convolution by its weight's name, over the samples."""
    module = _hollow(component)
    ranges: dict[str, Range] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, taken: tuple[torch.Tensor, ...], given: torch.Tensor) -> None:
            widen(ranges.setdefault(name, Range()), taken[0], given)

        return hook

    for prefix, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(watch(f"{prefix}.weight"))
    for sample in samples:
        _run(module, component, sample, read_source(component), lambda done, total: None)
    return ranges


def widen(span: Range, taken: torch.Tensor, given: torch.Tensor) -> None:
    """Take one run of a convolution into account; 0 is always inside."""
    for name, values in (("input", taken), ("output", given)):
        low, high = torch.aminmax(values)
        setattr(span, f"{name}_low", min(getattr(span, f"{name}_low"), float(low)))
        setattr(span, f"{name}_high", max(getattr(span, f"{name}_high"), float(high)))


def read_source(component: ComponentSource) -> Read:
    """Return the reader of the checkpoint's own values."""

    def read(name: str) -> NDArray[Any]:
        if name in component.constants:
            return component.constants[name]
        assert component.weights is not None
        return component.weights.read(name)

    return read


def _hollow(component: ComponentSource) -> nn.Module:
    with quiet(), torch.device("meta"):
        module = component.module().eval()
    assert component.weights is not None
    known = set(component.weights.names)
    for name, tensor in module.state_dict().items():
        if name in known and (got := tuple(component.weights.shape(name))) != tuple(tensor.shape):
            raise ConversionError(
                f"tensor {name} has the wrong shape",
                got=got,
                allowed=tuple(tensor.shape),
                hint="the checkpoint's configuration and its weights don't belong together",
            )
    return module


def _run(
    module: nn.Module, component: ComponentSource, inputs: Arrays, read: Read, progress: Progress
) -> dict[str, Tensor]:
    with _Values(module, component, read, progress):
        return run_module(module, component, inputs)


class _Values(TorchFunctionMode):
    """Puts values in the place of every hollow tensor that a function of torch is given.

    Modules may use their weights in any way: torch itself would compute garbage, in silence, from some mixtures of
    hollow and real tensors.
    """

    def __init__(self, module: nn.Module, component: ComponentSource, read: Read, progress: Progress) -> None:
        super().__init__()
        assert component.weights is not None
        self._component, self._read, self._progress = component, read, progress
        self._known = {*component.weights.names, *component.constants}
        tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
        # of two names for one tensor the checkpoint may have either
        self._names = {id(tensor): name for name, tensor in sorted(tensors, key=lambda item: item[0] in self._known)}
        self._hollow = [tensor for _, tensor in tensors]  # alive, so that no other tensor gets their id
        self._held: dict[str, torch.Tensor] = {}
        self._used: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function with values (torch's protocol)."""
        name = getattr(func, "__name__", "")
        described = getattr(getattr(func, "__self__", None), "__name__", "") if name == "__get__" else name
        if described == "device" and id(args[0]) in self._names:
            return torch.device("cpu")
        if name == "__get__" and described not in _VALUE_PROPERTIES or described in _DESCRIPTIONS:
            return func(*args, **(kwargs or {}))
        args, kwargs = tree_map_only(torch.Tensor, self._real, (args, kwargs or {}))
        return func(*args, **kwargs)

    def _real(self, tensor: torch.Tensor) -> torch.Tensor:
        name = self._names.get(id(tensor))
        return tensor if name is None else self._load(name)

    def _load(self, name: str) -> torch.Tensor:
        if name in self._held:
            return self._held[name]
        if name not in self._known:
            raise ConversionError(
                f"{self._component.name} computes with a tensor that no file has", got=name, hint="name it a constant"
            )
        value = torch.from_numpy(np.array(self._read(name)))
        if value.numel() <= HELD_VALUES:
            self._held[name] = value
        self._used.add(name)
        self._progress(len(self._used), len(self._names))
        return value
