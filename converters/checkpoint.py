"""Reads a safetensors checkpoint into torch modules and refuses whatever doesn't fit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from edge_runtime.errors import ConversionError

Module = TypeVar("Module", bound=torch.nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The tensors of one file, and the SHA-256 of its bytes."""

    path: Path
    sha256: str
    tensors: Mapping[str, torch.Tensor] = field(repr=False)

    def fill(self, module: Module, prefix: str) -> Module:
        """Load the tensors named `prefix` + the module's own names, all of them, and return the module in evaluation
        mode. Raises ConversionError for missing, unknown, misshapen or not finite tensors.
        """
        state = module.state_dict()
        found = {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}
        if missing := sorted(set(state) - set(found)):
            raise ConversionError(f"{self.path.name} lacks tensors", got=", ".join(prefix + name for name in missing))
        if unknown := sorted(set(found) - set(state)):
            raise ConversionError(
                f"{self.path.name} has tensors that the model doesn't know",
                got=", ".join(prefix + name for name in unknown),
            )
        for name, tensor in found.items():
            _check(self.path.name, prefix + name, tensor, state[name])
        module.load_state_dict(found)
        return module.eval()


def read_checkpoint(path: Path, prefixes: tuple[str, ...]) -> Checkpoint:
    """Read a file whose every tensor belongs to one of the prefixes; raises ConversionError."""
    try:
        content = path.read_bytes()
        tensors = load(content)
    except (OSError, SafetensorError) as error:
        raise ConversionError(f"the checkpoint {path} can't be read", got=error) from error
    if strangers := sorted(name for name in tensors if not name.startswith(prefixes)):
        raise ConversionError(
            f"{path.name} is not a checkpoint of this model",
            got=", ".join(strangers),
            allowed=f"tensors named {', '.join(f'{prefix}*' for prefix in prefixes)}",
        )
    return Checkpoint(path=path, sha256=hashlib.sha256(content).hexdigest(), tensors=tensors)


def _check(file: str, name: str, tensor: torch.Tensor, expected: torch.Tensor) -> None:
    if tensor.shape != expected.shape:
        raise ConversionError(
            f"{file}: tensor {name} has the wrong shape", got=tuple(tensor.shape), allowed=tuple(expected.shape)
        )
    if tensor.is_floating_point() != expected.is_floating_point():
        raise ConversionError(f"{file}: tensor {name} has the wrong dtype", got=tensor.dtype, allowed=expected.dtype)
    if not torch.isfinite(tensor).all():
        raise ConversionError(f"{file}: tensor {name} holds NaN or infinity", hint="train or download it again")
