"""The forms for fixed shapes compute in the real part of their pictures what the dynamic ones compute."""

import numpy as np
import pytest
import torch

from converters.nano_banana.context import Context
from converters.nano_banana.fixed import FixedContext, FixedRender
from converters.nano_banana.render import Render
from converters.nano_banana.vocabulary import vocabulary

SIDE = 64
RANDOM = np.random.default_rng(5)


def filled(array, height, width):
    """Repeat the last row and column."""
    return np.pad(array, ((0, 0), (0, height - array.shape[1]), (0, width - array.shape[2]), (0, 0)), mode="edge")


def amounts(regions):
    signed = np.array([adjustment.low < 0 for adjustment in vocabulary().adjustments])
    values = RANDOM.uniform(0.05, 0.4, (regions, len(signed)))
    return torch.from_numpy(np.where(signed & (RANDOM.random(values.shape) < 0.5), -values, values).astype(np.float32))


def photo(height, width, channels):
    coarse = RANDOM.integers(0, 256, (1, -(-height // 8), -(-width // 8), channels)).astype(np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (41, 64), (64, 33), (17, 23)])
def test_context(full, size):
    height, width = size
    picture, plan = photo(height, width, 3), amounts(2)
    mask = torch.from_numpy(RANDOM.random((1, 1, 256, 256), np.float32))
    with torch.inference_mode():
        wanted = Context(full=full)(torch.from_numpy(picture.copy()), mask, plan)
        found = FixedContext(full=full)(
            torch.from_numpy(filled(picture, SIDE, SIDE)), mask, plan,
            torch.tensor([float(height)]), torch.tensor([float(width)]),
        )
    for one, other in zip(wanted, found, strict=True):
        assert torch.isfinite(other).all()
        torch.testing.assert_close(other[:, :, :height, :width], one, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_render(full, factor):
    cells = (11, 7)
    height, width = (factor * side for side in cells)
    context_pixels = max(cells)
    plan = amounts(2)
    layers = [RANDOM.random((rows, 4, *cells), np.float32) for rows in (2, 1)]
    layers += [RANDOM.random((1, 6, *cells), np.float32)] * full
    picture = photo(height, width, 4)
    rest = (plan, torch.rand(2, 3), torch.tensor([0.0, 0.0, float(height), float(width)]))
    wide = [np.pad(value, ((0, 0), (0, 0), (0, 5), (0, 9)), mode="edge") for value in layers]
    with torch.inference_mode():
        wanted = Render(full=full)(torch.from_numpy(picture.copy()), *map(torch.from_numpy, layers), *rest)
        found = FixedRender(full=full, context_pixels=context_pixels)(
            torch.from_numpy(filled(picture, SIDE, SIDE)), *map(torch.from_numpy, wide), *rest
        )
    difference = (found[:, :height, :width].int() - wanted.int()).abs()
    # where half a code is rounded, the last digit of an interpolation can decide
    assert difference.max() <= (20 if full else 1) and (difference > 1).float().mean() < 0.002
