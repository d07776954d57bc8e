"""What the families' tests share: a tiny checkpoint and its artifact, made once a module.

A module says which it is: FAMILY is the name of its module in `tiny`.
"""

from importlib import import_module
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def checkpoint(request, tmp_path_factory) -> Path:
    """The folder of the module's tiny checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoint")
    import_module(f"tiny.{request.module.FAMILY}").build(folder)
    return folder


@pytest.fixture(scope="module")
def float_artifact(checkpoint, tmp_path_factory) -> Path:
    """The folder of the checkpoint's artifact in fp32."""
    from tiny.artifact import converted

    return converted(checkpoint, tmp_path_factory.mktemp("artifact"))["fp32"]
