"""FLUX.1 Kontext (https://arxiv.org/abs/2506.15742): edits one photo by an instruction, which it sees as a reference.

Results have the photo's proportions. The photo itself is seen at the nearest of the sizes that the model was trained
at, whatever the result's size, as in diffusers.
"""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image

from edge_runtime.diffusion import pictures
from edge_runtime.diffusion.flux import FluxModel
from edge_runtime.diffusion.model import DiffusionFamily, Job


class FluxKontext(FluxModel):
    """One opened artifact."""

    keeps_photo = True

    def _references(self, job: Job) -> tuple[Image.Image, ...]:
        size = nearest(job.photo.size, self.settings.part("size").pairs("preferred"))
        width, height = (side // self.space.token_pixels * self.space.token_pixels for side in size)
        return (pictures.resized(job.photo, width, height),)


def nearest(photo: tuple[int, int], sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Return the width and height whose proportions are nearest to the photo's, the narrowest of equals."""
    ratio = photo[0] / photo[1]
    return min(sizes, key=lambda size: (abs(ratio - size[0] / size[1]), *size))


FAMILY = DiffusionFamily(name="flux-kontext", model=FluxKontext)
