"""Runs a written Core ML package without a Mac: its program, operation by operation, in torch.

It tells whether our artifact computes what the checkpoint computes. It can't tell what Apple's compiler makes of it:
sums are in float32 and rounded to half precision at each operation's result, where hardware may keep half precision
inside, fuse operations, or choose other kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from converters.coreml.arguments import Arguments, to_value
from converters.coreml.library import types
from converters.coreml.operations import OPERATIONS, Operation
from converters.coreml.package import read_package
from edge_runtime.errors import ConversionError, EngineError

HALF: Final = "fp16"
_COMPRESSED: Final = "constexpr_"


@dataclass(frozen=True, slots=True)
class _Step:
    """One operation: `inputs` name values or have constants at hand, `done` are names that nobody reads any more."""

    name: str
    run: Operation
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]
    dtypes: tuple[str, ...]
    done: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    """A value that an input or an operation gives."""

    name: str


class Interpreter:
    """A package, opened. `run` may be called by several threads."""

    def __init__(self, folder: Path) -> None:
        """Read the package and unpack its weights; raises ConversionError for what can't be read or run."""
        self.specification, program = read_package(folder)
        function = program.functions["main"]
        self.operations: tuple[Any, ...] = tuple(function.operations)
        self._inputs = {name: _dtype(value) for name, value in function.inputs.items()}
        self._outputs = tuple(value.name for value in function.outputs)
        self._steps = _steps(function, folder.name)

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Return all outputs as the file holds them, float32 or int32; raises EngineError when an operation fails."""
        values: dict[str, Any] = {
            name: _rounded(to_value(inputs[name]), dtype) for name, dtype in self._inputs.items()
        }
        for step in self._steps:
            try:
                results = step.run(Arguments(_resolved(step.inputs, values), step.dtypes))
            except (RuntimeError, ValueError, IndexError, KeyError, AssertionError) as error:
                raise EngineError(f"the operation {step.name} can't be run", got=error) from error
            listed = results if isinstance(results, tuple) else (results,)
            values.update(
                (name, _rounded(value, dtype))
                for name, value, dtype in zip(step.outputs, listed, step.dtypes, strict=True)
            )
            for name in step.done:
                del values[name]
        return {name: values[name].numpy() for name in self._outputs}


def constants_of(function: Any, package: str) -> dict[str, Any]:
    """Return every constant of a function by its name, compressed ones unpacked, as operations get them."""
    constants: dict[str, Any] = {}
    for operation in function.operations:
        if operation.op_type == "const":
            constants[operation.outputs[0].name] = to_value(operation.outputs[0].val)
        elif operation.op_type.startswith(_COMPRESSED):
            step = _step(operation, constants, package)
            value = step.run(Arguments(step.inputs, step.dtypes))
            assert isinstance(value, Tensor)
            constants[step.outputs[0]] = _rounded(value, step.dtypes[0])
    return constants


def _steps(function: Any, package: str) -> tuple[_Step, ...]:
    """Lay out a program's operations in their order."""
    constants = constants_of(function, package)
    computed = [
        operation
        for operation in function.operations
        if operation.op_type != "const" and not operation.op_type.startswith(_COMPRESSED)
    ]
    steps = [_step(operation, constants, package) for operation in computed]
    return _with_ends(steps, {value.name for value in function.outputs})


def _step(operation: Any, constants: Mapping[str, Any], package: str) -> _Step:
    run = OPERATIONS.get(operation.op_type)
    if run is None:
        raise ConversionError(
            f"the interpreter has no operation {operation.op_type}, which {package} has as {operation.name}",
            allowed=", ".join(sorted(OPERATIONS)),
            hint="add it to converters/coreml/operations",
        )
    return _Step(
        name=f"{operation.name} ({operation.op_type})",
        run=run,
        inputs={name: _reference(value, constants) for name, value in operation.inputs.items()},
        outputs=tuple(value.name for value in operation.outputs),
        dtypes=tuple(_dtype(value) for value in operation.outputs),
        done=(),
    )


def _reference(value: Any, constants: Mapping[str, Any]) -> Any:
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return tuple(_reference(each, constants) for each in value)
    return constants[value.name] if value.name in constants else _Name(value.name)


def _resolved(inputs: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    def resolve(value: Any) -> Any:
        if isinstance(value, _Name):
            return values[value.name]
        return tuple(map(resolve, value)) if isinstance(value, tuple) else value

    return {name: resolve(value) for name, value in inputs.items()}


def _with_ends(steps: list[_Step], kept: set[str]) -> tuple[_Step, ...]:
    """Say behind which step each value is read for the last time, so that memory is given back there."""
    seen = set(kept)
    ended = []
    for step in reversed(steps):
        names = {*_names(step.inputs.values()), *step.outputs} - seen
        seen |= names
        ended.append(_Step(step.name, step.run, step.inputs, step.outputs, step.dtypes, tuple(sorted(names))))
    return tuple(reversed(ended))


def _names(values: Any) -> set[str]:
    found: set[str] = set()
    for value in values:
        if isinstance(value, _Name):
            found.add(value.name)
        elif isinstance(value, tuple):
            found |= _names(value)
    return found


def _dtype(value: Any) -> str:
    return str(types.builtin_to_string(value.dtype))


def _rounded(value: Tensor, dtype: str) -> Tensor:
    return value.half().float() if dtype == HALF else value
