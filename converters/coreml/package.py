"""Packages on disk (`.mlpackage`): a folder with a table of contents, the model, and its weights.

    vision.mlpackage/
        Manifest.json
        Data/com.apple.CoreML/model.mlmodel
        Data/com.apple.CoreML/weights/weight.bin

Written byte for byte the same for the same program: coremltools puts the date and random identifiers in.
"""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path, PurePosixPath
from typing import Any, Final

from converters.coreml.library import Model_pb2, coremltools, load_program, silent
from edge_runtime.errors import ConversionError

CONTENTS: Final = "Manifest.json"
_AUTHOR: Final = "com.apple.CoreML"
_MODEL: Final = PurePosixPath(_AUTHOR, "model.mlmodel")
_WEIGHTS: Final = PurePosixPath(_AUTHOR, "weights")
_WEIGHT_FILE: Final = "weight.bin"
MODEL: Final = f"Data/{_MODEL}"
WEIGHTS: Final = f"Data/{_WEIGHTS / _WEIGHT_FILE}"
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "mlpackage.nanoedge")


def write_package(program: Any, minimum: Any, destination: Path) -> None:
    """Write a MIL program for the operating system `minimum`; raises ConversionError when coremltools can't."""
    with silent():
        try:
            model = coremltools.convert(
                program,
                source="milinternal",
                convert_to="mlprogram",
                minimum_deployment_target=minimum,
                compute_precision=coremltools.precision.FLOAT32,  # the program says already what is half precision
                pass_pipeline=coremltools.PassPipeline.EMPTY,
                skip_model_load=True,
            )
        except (NotImplementedError, ValueError, RuntimeError) as error:
            raise ConversionError(f"coremltools can't write {destination.name}", got=error) from error
    spec = model.get_spec()
    spec.description.metadata.Clear()
    data = destination / "Data"
    (data / _AUTHOR).mkdir(parents=True)
    (data / _MODEL).write_bytes(spec.SerializeToString(deterministic=True))
    items = {_MODEL: "CoreML Model Specification"}
    weights = Path(model.weights_dir) / _WEIGHT_FILE
    if weights.exists():  # none where every constant is so small that it stands in the model
        (data / _WEIGHTS).mkdir()
        shutil.copyfile(weights, data / _WEIGHTS / _WEIGHT_FILE)
        items[_WEIGHTS] = "CoreML Model Weights"
    (destination / CONTENTS).write_text(_contents(items), encoding="utf-8")


def read_package(folder: Path) -> tuple[Any, Any]:
    """Return a written package's specification and its program, in coremltools' types; raises ConversionError.

    Every constant comes from the files: nothing is left of the program that was written.
    """
    try:
        spec = Model_pb2.Model()
        spec.ParseFromString((folder / "Data" / _MODEL).read_bytes())
        with silent():
            return spec, load_program(spec, spec.specificationVersion, str(folder / "Data" / _WEIGHTS))
    except Exception as error:  # noqa: BLE001 - protobuf, file system and coremltools' readers have no common class
        raise ConversionError(f"{folder.name} is not a Core ML package", got=error) from error


def _contents(items: dict[PurePosixPath, str]) -> str:
    entries = {
        str(_identifier(path)): {
            "author": _AUTHOR,
            "description": description,
            "name": path.name,
            "path": path.as_posix(),
        }
        for path, description in items.items()
    }
    table = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": str(_identifier(_MODEL)),
    }
    return json.dumps(table, indent=4, sort_keys=True) + "\n"


def _identifier(path: PurePosixPath) -> uuid.UUID:
    """Identifiers tell the items of one package apart; they need not differ between packages."""
    return uuid.uuid5(_NAMESPACE, path.as_posix())
