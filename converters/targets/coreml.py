"""Writes components as Core ML packages (`.mlpackage`, ML programs) on any system; no Mac is needed.

Checked by running what was written in the interpreter of converters/coreml, which tests the artifact, not Apple's
compiler. Needs coremltools, of the extra `coreml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from converters.coreml.checks import check_structure, check_weights
from converters.coreml.compression import compress
from converters.coreml.frontend import traced
from converters.coreml.half_precision import BetweenLearnedLayers
from converters.coreml.interpreter import Interpreter
from converters.coreml.library import IOS17, coremltools
from converters.coreml.package import CONTENTS, write_package
from converters.coreml.running import run_described
from converters.coreml.weight_forms import check_expressible, departures, minimum_system
from converters.layers import planned_layers, precision_of
from converters.recipe import Recipe
from converters.source import Arrays, ComponentSource
from converters.target import Runner
from edge_runtime.tensors import Tensor

HALF: Final = "fp16"


class CoreMLTarget:
    """The Core ML package format (see converters/target.py). Sizes keep the component's symbols, as ranges."""

    suffix = ".mlpackage"
    entry = CONTENTS
    timed = False
    tools = ("torch", "coremltools")

    def departures(self, component: ComponentSource, recipe: Recipe) -> str:
        """Say what of a recipe's plan Core ML holds in another way."""
        return departures(planned_layers(component, recipe).values())

    def export(self, component: ComponentSource, destination: Path) -> None:
        """Trace the module with dynamic sizes and write it in 32-bit float for iOS 17; raises ConversionError."""
        program = traced(component, IOS17, coremltools.precision.FLOAT32)
        write_package(program.program, IOS17, destination)
        check_structure(destination, component)
        check_weights(destination, component, program.parameters, {})

    def quantise(self, component: ComponentSource, recipe: Recipe, exported: Path, destination: Path) -> str:
        """Write the component with smaller weights, in half precision between its layers; return the precision.

        It is traced again, as half precision changes the whole program. Raises ConversionError.
        """
        check_expressible(recipe)
        plan = planned_layers(component, recipe)
        minimum = minimum_system(list(plan.values()))
        precision = coremltools.transform.FP16ComputePrecision(op_selector=BetweenLearnedLayers())
        program = traced(component, minimum, precision)
        done = compress(program, plan, minimum)
        write_package(program.program, minimum, destination)
        check_structure(destination, component)
        check_weights(destination, component, program.parameters, done)
        if not done:
            return precision_of(())
        weights = precision_of(plan[name] for name in done)
        return weights if weights == HALF else f"{weights}-{HALF}"

    def runners(self, component: ComponentSource, file: Path) -> tuple[Runner, ...]:
        """Open the written package in the interpreter; there is no other way to run it here."""
        interpreter = Interpreter(file)
        sides = (component.inputs, component.outputs)

        def run(inputs: Arrays) -> dict[str, Tensor]:
            return run_described(interpreter, inputs, sides)

        return (run,)


TARGET: Final = CoreMLTarget()
