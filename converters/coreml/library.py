"""coremltools, imported without its remarks about versions of torch and Apple's own library, which only Macs have.

Everything else here takes it from this module, so that nobody imports it first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any, Final

from converters.quiet import quiet


@contextmanager
def silent() -> Iterator[None]:
    """Keep coremltools' progress bars and remarks off the user's screen; errors are exceptions anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with quiet(), redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)


with silent():
    import coremltools
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil import register_torch_op as register_torch_op
    from coremltools.converters.mil.frontend.milproto.load import load as load_program
    from coremltools.converters.mil.frontend.torch import ops as torch_translations
    from coremltools.converters.mil.mil import types as types
    from coremltools.converters.mil.mil.scope import ScopeInfo
    from coremltools.proto import Model_pb2

IOS17: Final[Any] = coremltools.target.iOS17
IOS18: Final[Any] = coremltools.target.iOS18

__all__ = [
    "IOS17",
    "IOS18",
    "Builder",
    "Model_pb2",
    "ScopeInfo",
    "coremltools",
    "load_program",
    "register_torch_op",
    "silent",
    "torch_translations",
    "types",
]
