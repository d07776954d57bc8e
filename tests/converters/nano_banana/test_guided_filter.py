"""The guided filter follows the photo's edges where the mask has one, and nowhere else."""

import torch
from torch import Tensor

from converters.nano_banana.constants import EDGE_REACH
from converters.nano_banana.grid import Grid, PaddedGrid
from converters.nano_banana.guided_filter import apply_matte, guided_coefficients, near_edges, stretched


def a_street() -> tuple[Tensor, Tensor]:
    """Return a photo (1, 3, 64, 64) of patches that look alike on both sides of its mask's edge at column 32."""
    torch.manual_seed(0)
    patches = torch.rand(1, 3, 16, 16).repeat_interleave(4, 2).repeat_interleave(4, 3)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 32:] = 1.0
    return patches, mask


def opacity(photo: Tensor, matte: Tensor) -> Tensor:
    return apply_matte(photo, matte[:, :3], matte[:, 3:])


def test_beyond_the_reach_of_an_edge_the_opacity_is_the_mask():
    photo, mask = a_street()
    free = stretched(guided_coefficients(photo, mask, Grid()))
    held = opacity(photo, near_edges(free, mask, Grid()))
    far = EDGE_REACH + 1
    assert float(opacity(photo, free)[..., : 32 - far].max()) > 0.2, "a wisp, which this picture is made for"
    assert float(held[..., : 32 - far].max()) == 0 and float(held[..., 32 + far :].min()) == 1


def test_at_an_edge_the_colours_decide():
    photo, mask = a_street()
    free = stretched(guided_coefficients(photo, mask, Grid()))
    held = near_edges(free, mask, Grid())
    assert torch.allclose(held[..., 31:33], free[..., 31:33], atol=1e-5)


def test_a_padded_picture_gets_what_it_gets_alone():
    photo, mask = a_street()
    matte = torch.rand(1, 4, 64, 64)
    alone = near_edges(matte[..., :50, :33], mask[..., :50, :33], Grid())
    sides = torch.tensor([50.0]), torch.tensor([33.0])
    padded = mask.clone()
    padded[..., 33:] = 1.0
    assert torch.allclose(near_edges(matte, padded, PaddedGrid(*sides))[..., :50, :33], alone, atol=1e-6)
