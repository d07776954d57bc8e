"""Writes components as Core ML packages (`.mlpackage`, ML programs) on any system; no Mac is needed.

Checked by running what was written in the interpreter of converters/coreml, which tests the artifact, not Apple's
compiler. Needs coremltools, of the extra `coreml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from converters.coreml.checks import check_structure, check_weights
from converters.coreml.compression import Compressed, compress
from converters.coreml.frontend import traced
from converters.coreml.half_precision import BetweenLearnedLayers
from converters.coreml.interpreter import Interpreter
from converters.coreml.library import IOS17, coremltools
from converters.coreml.package import CONTENTS, write_package
from converters.coreml.running import run_described
from converters.coreml.weight_forms import check_expressible, minimum_system, remark
from converters.layers import FLOAT, planned_layers, precision_of
from converters.recipe import LayerScheme, Recipe
from converters.source import Arrays, ComponentSource
from converters.target import Quantised, Runner, Target
from edge_runtime.tensors import Tensor

HALF: Final = "fp16"


class CoreMLTarget:
    """The Core ML package format (see converters/target.py). Sizes keep the component's symbols, as ranges."""

    suffix = ".mlpackage"
    entry = CONTENTS
    interpreted = True
    timed = False
    tools = ("torch", "coremltools")

    def check(self, recipe: Recipe) -> None:
        """Raise ConversionError for a recipe that Core ML has no form for."""
        check_expressible(recipe)

    def export(self, component: ComponentSource, destination: Path) -> None:
        """Trace the module with dynamic sizes and write it in 32-bit float for iOS 17; raises ConversionError."""
        parameters = _export(component, destination)
        check_structure(destination, component)
        check_weights(destination, component, parameters, {})

    def quantise(self, component: ComponentSource, recipe: Recipe, exported: Path, destination: Path) -> Quantised:
        """Write the component with smaller weights, in half precision between its layers; raises ConversionError.

        It is traced again, as half precision changes the whole program.
        """
        plan = planned_layers(component, recipe)
        done, parameters = _export_small(component, plan, destination)
        if not done:
            return Quantised(precision=FLOAT)
        schemes = {name: each.scheme for name, each in done.items()}
        check_structure(destination, component)
        check_weights(destination, component, parameters, schemes)
        weights = precision_of(LayerScheme(weights=each.scheme) for each in done.values())
        return Quantised(
            precision=weights if weights == HALF else f"{weights}-{HALF}",
            note=remark(plan, schemes),
            layers=_layers(done.values()),
        )

    def runners(self, component: ComponentSource, file: Path) -> tuple[Runner, ...]:
        """Open the written package in the interpreter; there is no other way to run it here."""
        interpreter = Interpreter(file)
        sides = (component.inputs, component.outputs)

        def run(inputs: Arrays) -> dict[str, Tensor]:
            return run_described(interpreter, inputs, sides)

        return (run,)

    def settings(self, components: tuple[ComponentSource, ...]) -> dict[str, Any]:
        """Return nothing: packages take every size."""
        return {}


TARGET: Final[Target] = CoreMLTarget()


# The two below return names alone, so that a program, which has every weight, is gone before the file is read again.
def _export(component: ComponentSource, destination: Path) -> Mapping[str, str]:
    """Write the component in float; return which parameter each constant holds."""
    program = traced(component, IOS17, coremltools.precision.FLOAT32)
    write_package(program.program, IOS17, destination)
    return program.parameters


def _export_small(
    component: ComponentSource, plan: Mapping[str, LayerScheme], destination: Path
) -> tuple[dict[str, Compressed], Mapping[str, str]]:
    """Write the component by a plan unless nothing became smaller; return what did, and the constants' parameters."""
    minimum = minimum_system(list(plan.values()))
    precision = coremltools.transform.FP16ComputePrecision(op_selector=BetweenLearnedLayers())
    program = traced(component, minimum, precision)
    done = compress(program, plan, minimum)
    if done:
        write_package(program.program, minimum, destination)
    return done, program.parameters


def _layers(done: Iterable[Compressed]) -> dict[str, tuple[int, int]]:
    """Return parameters and bytes of all layers of each precision."""
    sums: dict[str, tuple[int, int]] = {}
    for each in done:
        parameters, size_bytes = sums.get(each.scheme.precision, (0, 0))
        sums[each.scheme.precision] = (parameters + each.parameters, size_bytes + each.bytes)
    return sums
