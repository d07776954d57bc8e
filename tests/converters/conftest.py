"""Exporting takes seconds, so the tests of the converter share the exported stand-ins."""

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
