"""Arrays as the manifest describes them, in and out of a package that holds float32 and int32 alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from converters.coreml.frontend import CARRIED
from converters.coreml.interpreter import Interpreter
from edge_runtime.tensors import Tensor, TensorSpec


def run_described(
    interpreter: Interpreter, inputs: Mapping[str, Tensor], sides: tuple[Sequence[TensorSpec], Sequence[TensorSpec]]
) -> dict[str, Tensor]:
    """Return all outputs in the manifest's dtypes; `sides` describe inputs and outputs. Raises EngineError.

    Values are kept: 8-bit pictures go in as whole numbers, and what comes out is whole already.
    """
    taken, given = sides
    found = interpreter.run({spec.name: inputs[spec.name].astype(CARRIED[spec.dtype]) for spec in taken})
    return {spec.name: np.asarray(found[spec.name], spec.dtype) for spec in given}
