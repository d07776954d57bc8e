"""TensorSpec: what is a usable description, and which arrays fit it."""

import numpy as np
import pytest

from edge_runtime.errors import ArtifactError, EngineError
from edge_runtime.tensors import DTYPES, TensorSpec, check_inputs

PHOTO = TensorSpec(name="photo", dtype="uint8", shape=(1, "height", "width", 3))
MASK = TensorSpec(name="mask", dtype="float32", shape=(1, 1, "height", "width"))


def photo(height=4, width=6, dtype=np.uint8):
    return np.zeros((1, height, width, 3), dtype)


def mask(height=4, width=6):
    return np.zeros((1, 1, height, width), np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_numpys_name(dtype):
    TensorSpec(name="x", dtype=dtype, shape=(2,)).check(np.zeros(2, dtype))


def test_a_scalar_and_an_empty_symbol_fit():
    TensorSpec(name="x", dtype="float32", shape=()).check(np.zeros((), np.float32))
    TensorSpec(name="x", dtype="int32", shape=("tokens",)).check(np.zeros(0, np.int32))


def test_the_error_names_both_dtypes_and_shapes():
    with pytest.raises(EngineError) as caught:
        PHOTO.check(np.zeros((4, 6), np.float32))
    assert str(caught.value) == (
        "Tensor photo has the wrong dtype or shape. Got float32 (4, 6). Allowed: uint8 (1, height, width, 3)."
    )


@pytest.mark.parametrize(
    "array",
    [photo(dtype=np.int8), photo()[0], photo()[..., :2], photo().tolist(), None, photo(dtype=object)],
    ids=["dtype", "rank", "channels", "list", "none", "objects"],
)
def test_arrays_that_do_not_fit(array):
    with pytest.raises(EngineError):
        PHOTO.check(array)


def test_foreign_byte_order_does_not_fit():
    with pytest.raises(EngineError, match=">f4"):
        MASK.check(mask().astype(">f4"))


def test_check_inputs_returns_the_sizes_of_symbols():
    assert check_inputs([PHOTO, MASK], {"photo": photo(), "mask": mask()}) == {"height": 4, "width": 6}


def test_a_symbol_has_one_size():
    with pytest.raises(EngineError, match="height = 4") as caught:
        check_inputs([PHOTO, MASK], {"photo": photo(), "mask": mask(height=5)})
    assert "float32 (1, 1, 5, 6)" in str(caught.value)


def test_a_symbol_within_one_tensor_has_one_size():
    square = TensorSpec(name="square", dtype="int64", shape=("side", "side"))
    with pytest.raises(EngineError, match="side = 2"):
        check_inputs([square], {"square": np.zeros((2, 3), np.int64)})


def test_outputs_are_checked_with_the_sizes_of_the_inputs():
    sizes = check_inputs([PHOTO], {"photo": photo()})
    check_inputs([MASK], {"mask": mask()}, sizes)
    with pytest.raises(EngineError, match="width = 6"):
        check_inputs([MASK], {"mask": mask(width=7)}, sizes)
    assert sizes == {"height": 4, "width": 6}


@pytest.mark.parametrize("tensors", [{}, {"photo": photo()}, {"photo": photo(), "mask": mask(), "x": mask()}])
def test_missing_and_unknown_tensors_are_refused(tensors):
    with pytest.raises(EngineError, match="photo: uint8"):
        check_inputs([PHOTO, MASK], tensors)


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "x" * 129},
        {"name": 3},
        {"dtype": "float64"},
        {"dtype": "Float32"},
        {"dtype": np.float32},
        {"shape": (0,)},
        {"shape": (-1,)},
        {"shape": (2**31,)},
        {"shape": (True,)},
        {"shape": (1.0,)},
        {"shape": ("Height",)},
        {"shape": ("",)},
        {"shape": (None,)},
        {"shape": (1,) * 9},
        {"shape": [1, 2]},
    ],
    ids=str,
)
def test_descriptions_that_are_not_usable(change):
    with pytest.raises(ArtifactError):
        TensorSpec(**{"name": "x", "dtype": "float32", "shape": (1,), **change})


def test_json_round_trip():
    assert PHOTO.to_json() == {"name": "photo", "dtype": "uint8", "shape": [1, "height", "width", 3]}
    assert TensorSpec.from_json(PHOTO.to_json()) == PHOTO


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"name": "x", "dtype": "float32"},
        {"name": "x", "dtype": "float32", "shape": [1], "layout": "nchw"},
        {"name": "x", "dtype": "float32", "shape": "1"},
        {"name": "x", "dtype": "float32", "shape": [[1]]},
    ],
    ids=str,
)
def test_json_that_is_not_a_tensor_says_where(data):
    with pytest.raises(ArtifactError):
        TensorSpec.from_json(data, "components[0].inputs[1]")
