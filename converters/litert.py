"""litert-torch, imported without what TensorFlow's and torchao's libraries print about processors and GPUs.

Whoever needs it takes it from this module, so that nobody imports it first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from converters.quiet import quiet


@contextmanager
def _silent_libraries() -> Iterator[None]:
    """Close the process's own standard error meanwhile: what C++ prints there passes by Python's. Errors are raised."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with quiet(), _silent_libraries():
    import litert_torch as litert_torch
