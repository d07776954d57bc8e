"""What the tests of the converter share: exporting takes seconds, so graphs are made once.

A module of a family's tests says which it is: FAMILY is the name of its modules in `converters.pipelines` and `tiny`.
"""

from importlib import import_module
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Path:
    """A folder with the float graphs of both stand-ins, `vision.onnx` and `text.onnx`. Read only."""
    from stand_ins import mask_component, text_component

    from converters.targets.onnx import TARGET

    folder = tmp_path_factory.mktemp("float")
    for component in (mask_component(), text_component()):
        TARGET.export(component, folder / f"{component.name}.onnx")
    return folder


@pytest.fixture(scope="module")
def checkpoint(request, tmp_path_factory) -> Path:
    """The folder of the module's tiny checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoint")
    import_module(f"tiny.{request.module.FAMILY}").build(folder)
    return folder


@pytest.fixture(scope="module")
def model(request, checkpoint):
    """The module's tiny checkpoint, opened by its family."""
    from tiny.running import opened

    return opened(import_module(f"converters.pipelines.{request.module.FAMILY}").PIPELINE, checkpoint)


@pytest.fixture(scope="module")
def graphs(model, tmp_path_factory):
    """Every component of the model in fp32 in onnxruntime, by name."""
    from tiny.running import Running

    folder = tmp_path_factory.mktemp("graphs")
    return {component.name: Running(component, folder) for component in model.components}


@pytest.fixture(scope="session")
def nvidia_python(tmp_path_factory) -> Path:
    """Python of an environment with NVIDIA's parser and builder: see nvidia.py."""
    from nvidia import new_environment

    return new_environment(tmp_path_factory.mktemp("tensorrt-rtx"))
