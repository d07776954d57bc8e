"""A tiny artifact's manifest and files, for tests."""

from pathlib import Path

from edge_runtime.manifest import Component, Manifest
from edge_runtime.tensors import TensorSpec

PHOTO = TensorSpec(name="photo", dtype="uint8", shape=(1, "height", "width", 3))
FILES = {"vision": b"a graph", "words": b"{}"}


def manifest(**changes):
    vision = Component(name="vision", file="graphs/vision.onnx", precision="int8", inputs=(PHOTO,), note="für Menschen")
    words = Component(name="words", file="words.json", precision="none")
    values = {"family": "tiny", "name": "tiny-1.0", "target": "onnx", "recipe": "int8", "components": (vision, words)}
    return Manifest(**{**values, "settings": {"b": [1, 0.5, None], "a": True}, **changes})


def leftovers(folder: Path):
    return sorted(entry.name for entry in folder.iterdir())
