"""Weights in a mapped file: the checkpoint's values, once in memory however many ask for them."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from converters.mapped_weights import MappedWeights
from converters.shards import open_shards


@pytest.fixture
def checkpoint(tmp_path):
    tensors = {
        "flags": torch.tensor([True, False, True]),
        "half": torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).bfloat16(),
        "none": torch.zeros(0, 4),
        "one": torch.tensor(3.5),
        "places": torch.arange(4),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    return open_shards(tmp_path)


def test_the_same_values_as_the_checkpoint(checkpoint, tmp_path):
    mapped = MappedWeights(checkpoint, tmp_path / "weights")
    assert mapped.names == checkpoint.names
    for name in mapped.names:
        wanted = checkpoint.read(name)
        assert mapped.read(name).dtype == wanted.dtype and mapped.shape(name) == wanted.shape
        np.testing.assert_array_equal(mapped.read(name), wanted)
    np.testing.assert_array_equal(mapped.rows("half")(1, 3), checkpoint.read("half")[1:3])


def test_every_reader_gets_the_same_pages(checkpoint, tmp_path):
    mapped = MappedWeights(checkpoint, tmp_path / "weights")
    assert np.shares_memory(mapped.read("half"), mapped.read("half"))
    assert torch.from_numpy(mapped.read("half")).data_ptr() == mapped.read("half").ctypes.data
