"""Filling tensors up to fixed sizes and cutting results off again."""

import numpy as np
import pytest

from edge_runtime.errors import EngineError
from edge_runtime.fitting import Signature, read_signature, smallest
from edge_runtime.manifest import Component
from edge_runtime.tensors import TensorSpec

TEXT = TensorSpec(name="tokens", dtype="int32", shape=(1, "tokens"))
PHOTO = TensorSpec(name="photo", dtype="uint8", shape=("rows", "columns", 2))
FOUND = TensorSpec(name="found", dtype="float32", shape=("columns",))
COMPONENT = Component(name="both", file="both.tflite", precision="fp32", inputs=(TEXT, PHOTO), outputs=(FOUND,))
SMALL = Signature(name="small", sizes={"tokens": 4, "rows": 3, "columns": 3})
LARGE = Signature(name="large", sizes={"tokens": 4, "rows": 9, "columns": 3}, told=("rows",))
SIZES = {"tokens": 2, "rows": 2, "columns": 1}


def test_codes_end_in_zeros_and_pictures_in_their_edge():
    picture = np.array([[[1, 2]], [[3, 4]]], np.uint8)
    feeds = SMALL.fit(COMPONENT, {"tokens": np.array([[7, 8]], np.int32), "photo": picture}, SIZES)
    assert feeds["tokens"].tolist() == [[7, 8, 0, 0]]
    assert feeds["photo"].tolist() == [[[1, 2]] * 3, [[3, 4]] * 3, [[3, 4]] * 3]
    assert feeds.keys() == {"tokens", "photo"}


def test_a_graph_is_told_the_real_size():
    inputs = {"tokens": np.zeros((1, 2), np.int32), "photo": np.zeros((2, 1, 2), np.uint8)}
    assert LARGE.fit(COMPONENT, inputs, SIZES)["rows"].tolist() == [2.0]


def test_results_are_cut():
    cut = SMALL.cut(COMPONENT, {"found": np.array([5, 6, 7], np.float32)}, SIZES)
    assert cut["found"].tolist() == [5.0]


def test_the_smallest_that_holds_all():
    assert smallest(COMPONENT, (LARGE, SMALL), SIZES) is SMALL
    assert smallest(COMPONENT, (SMALL, LARGE), {**SIZES, "rows": 4}) is LARGE
    with pytest.raises(EngineError, match="tokens 5"):
        smallest(COMPONENT, (SMALL, LARGE), {**SIZES, "tokens": 5})


def test_a_signature_is_read_from_what_the_file_says():
    tensors = {"tokens": ("int32", (1, 4)), "photo": ("uint8", (9, 3, 2)), "found": ("float32", (3,))}
    assert read_signature(COMPONENT, "large", {**tensors, "rows": ("float32", (1,))}) == LARGE
    odd_ones = {"found": ("float32", (4,)), "photo": ("uint8", (9, 3)), "rows": ("int32", (1,)), "x": ("bool", ())}
    for odd in ({name: value} for name, value in odd_ones.items()):
        with pytest.raises(EngineError):
            read_signature(COMPONENT, "odd", {**tensors, **odd})
    with pytest.raises(EngineError, match="missing"):
        read_signature(COMPONENT, "odd", {name: value for name, value in tensors.items() if name != "found"})
