"""Noise by seed is PyTorch's, number for number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_runtime.diffusion.noise import Noise
from edge_runtime.request import MAX_SEED

MOST = 1e-5
SHAPES = [(16,), (17,), (31,), (1, 4, 5, 5), (1, 4, 32, 32), (1, 128, 13, 17), (1, 16, 9, 11), (1000,)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", [0, 7, MAX_SEED])
def test_equals_torch(shape, seed):
    expected = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)).numpy()
    actual = Noise(seed).normal(*shape)
    assert actual.dtype == np.float32
    assert actual.shape == shape
    assert np.abs(actual - expected).max() <= MOST


def test_the_stream_goes_on_as_torchs():
    noise, generator = Noise(7), torch.Generator("cpu").manual_seed(7)
    for shape in (*SHAPES, *reversed(SHAPES)):
        expected = torch.randn(shape, generator=generator).numpy()
        assert np.abs(noise.normal(*shape) - expected).max() <= MOST


def test_fewer_numbers_than_a_block_are_refused():
    with pytest.raises(ValueError, match="at least 16"):
        Noise(0).normal(1, 3, 5)
