"""Checks of a written package that need no Apple device: what it says about itself, and every weight that it holds.

Both read the files. What the numbers come to is measured by parity, over the interpreter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.coreml.compression import HALF, UNPACKED, parameter_of
from converters.coreml.frontend import CARRIED
from converters.coreml.interpreter import constants_of
from converters.coreml.library import Model_pb2
from converters.coreml.package import read_package
from converters.fused import with_fused_norms
from converters.parity import signal_to_noise_db
from converters.recipe import WeightScheme
from converters.source import ComponentSource
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec

IOS_OF: Final = {8: 17, 9: 18}
"""The specification version of a package -> the oldest iOS that opens it."""

LEAST_SNR_DB: Final = {"fp32": 120.0, "fp16": 55.0, "int8": 30.0, "int4": 10.0}
"""Of every weight by itself: below, something other than rounding happened to it."""

_ARRAYS: Final[Mapping[Any, int]] = {
    np.float32: Model_pb2.ArrayFeatureType.FLOAT32,
    np.int32: Model_pb2.ArrayFeatureType.INT32,
}


def check_structure(folder: Path, component: ComponentSource) -> int:
    """Compare names, types and sizes of both sides with the component's; return the oldest iOS that opens it.

    Raises ConversionError.
    """
    spec, _ = read_package(folder)
    if spec.WhichOneof("Type") != "mlProgram" or spec.specificationVersion not in IOS_OF:
        raise ConversionError(
            f"{component.name} is not an ML program for iOS 17 or 18",
            got=f"{spec.WhichOneof('Type')}, version {spec.specificationVersion}",
        )
    for sides, specs in ((spec.description.input, component.inputs), (spec.description.output, component.outputs)):
        if [side.name for side in sides] != [each.name for each in specs]:
            raise ConversionError(
                f"{component.name} has other inputs or outputs than described",
                got=", ".join(side.name for side in sides),
                allowed=", ".join(each.name for each in specs),
            )
        for side, described in zip(sides, specs, strict=True):
            _check_side(side, described, component)
    return IOS_OF[spec.specificationVersion]


def _check_side(side: Any, described: TensorSpec, component: ComponentSource) -> None:
    array = side.type.multiArrayType
    allowed = {symbol: (max(1, low), high) for symbol, (low, high) in component.dimensions.items()}
    wanted = [allowed.get(size) if isinstance(size, str) else (size, size) for size in described.shape]
    ranges = [(each.lowerBound, each.upperBound) for each in array.shapeRange.sizeRanges]
    found = ranges or [(size, size) for size in array.shape]
    # the size of an output that changes with the inputs is not stated at all
    unstated = not found and any(isinstance(size, str) for size in described.shape)
    if array.dataType != _ARRAYS[CARRIED[described.dtype]] or not (unstated or found == wanted):
        raise ConversionError(
            f"{component.name}: {described.name} is not as described",
            got=f"type {array.dataType}, sizes {found}",
            allowed=f"{described}, sizes {wanted}",
        )


def check_weights(
    folder: Path, component: ComponentSource, parameters: Mapping[str, str], schemes: Mapping[str, WeightScheme]
) -> dict[str, float]:
    """Unpack every weight from the files and return its signal to noise in decibels, by parameter.

    `parameters` are those of the program's constants, `schemes` how some were rounded. Raises ConversionError, naming
    the layer, when one lost more than rounding explains.
    """
    _, program = read_package(folder)
    sources = dict(with_fused_norms(component.module()).named_parameters())
    found = {}
    for constant, values in constants_of(program.functions["main"], folder.name).items():
        name = parameter_of(constant, parameters)
        if name is None:
            continue
        source = sources[name].detach().numpy().astype(np.float32)
        found[name] = signal_to_noise_db(source, values.numpy().reshape(source.shape))
        least = LEAST_SNR_DB[_precision(constant, schemes.get(name))]
        if not found[name] >= least:
            raise ConversionError(
                f"{component.name}: the weight {name} is not the checkpoint's any more",
                got=f"{found[name]:.1f} dB",
                allowed=f"{least:g} dB or more",
                hint="exclude the layer from the recipe",
            )
    return found


def _precision(constant: str, scheme: WeightScheme | None) -> str:
    """Return the key of LEAST_SNR_DB for a constant."""
    if scheme is not None:
        return scheme.precision
    return "fp16" if constant.removesuffix(UNPACKED).endswith(HALF) else "fp32"
