"""UMO (https://arxiv.org/abs/2509.06818) on UNO (https://arxiv.org/abs/2504.02160): people and things in a new picture.

All pictures are references, the photo too, so none is kept and there are no masks; the photo gives the proportions.
UNO draws the latents of references at random around those that the autoencoder finds likeliest; here it's the likeliest
themselves, as in the other families.
"""

from __future__ import annotations

from PIL import Image

from edge_runtime.diffusion import pictures
from edge_runtime.diffusion.flux import FluxModel
from edge_runtime.diffusion.model import DiffusionFamily, Job


class Umo(FluxModel):
    """One opened artifact."""

    keeps_photo = False

    def _references(self, job: Job) -> tuple[Image.Image, ...]:
        rules = self.settings.part("references")
        sides = rules.wholes("long_side")
        side = sides[min(len(job.pictures), len(sides)) - 1]
        return tuple(cut(picture, side, rules.whole("multiple")) for picture in job.pictures)


def cut(picture: Image.Image, long_side: int, multiple: int) -> Image.Image:
    """Resize to a long side, then crop the middle to sides that are multiples; raises OptionError for a mere strip."""
    scale = long_side / max(picture.size)
    # UNO cuts off fractions of a pixel; the long side is whole whatever the product rounds to
    width, height = (long_side if side == max(picture.size) else max(1, int(scale * side)) for side in picture.size)
    return pictures.cut_to_multiple(pictures.resized(picture, width, height), multiple)


FAMILY = DiffusionFamily(name="umo", model=Umo)
