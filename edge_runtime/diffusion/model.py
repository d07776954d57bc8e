"""`DiffusionModel`: the way of every edit by denoising. A family says how text is read and what the denoiser is fed.

read words and pictures -> latents of the pictures -> noise -> denoise, step by step -> paint the latents as pixels
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.artifact import Artifact
from edge_runtime.diffusion import pictures
from edge_runtime.diffusion.autoencoder import Autoencoder
from edge_runtime.diffusion.components import Components, require_whole
from edge_runtime.diffusion.latents import LatentSpace, folded
from edge_runtime.diffusion.noise import Noise
from edge_runtime.diffusion.pictures import SizeRule
from edge_runtime.diffusion.preview import ColourMap
from edge_runtime.diffusion.schedule import Denoised, Keep, Predict, flow
from edge_runtime.diffusion.settings import Settings
from edge_runtime.diffusion.tokens import Tokenizer
from edge_runtime.engine import Engine
from edge_runtime.family import Abilities, Mask, Pixels, Prompt
from edge_runtime.generators import retold
from edge_runtime.request import Step

Floats = NDArray[np.float32]
Solve = Callable[[Keep | None], Generator[Denoised, None, Floats]]
_Value = TypeVar("_Value")

CACHED_TEXTS: Final = 8
"""Results of text and vision encoders that are kept; a text of FLUX's takes 8 MB, one of klein's 16 or 25."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A prompt with every choice made. `pictures` are RGB; `width` and `height` are the result's, in pixels.

    `masked`: around a mask the photo stays as it is.
    """

    instruction: str
    negative: str
    pictures: tuple[Image.Image, ...]
    width: int
    height: int
    steps: int
    guidance: Mapping[str, float]
    noise: Noise = field(repr=False)
    masked: bool = False

    @property
    def photo(self) -> Image.Image:
        """Return the picture that is edited."""
        return self.pictures[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Painting:
    """What a family has prepared.

    `solve` runs the schedule, in the denoiser's layout. `to_raw` brings that layout to raw latents (1, channels,
    height, width), `from_raw` back. `noised` adds the first noise to latents of the denoiser's layout, as at a noise
    level. `seen` is a picture with its raw latents.
    """

    solve: Solve
    to_raw: Callable[[Floats], Floats]
    from_raw: Callable[[Floats], Floats]
    noised: Callable[[Floats, float], Floats]
    seen: tuple[Floats, Image.Image]


class DiffusionModel(ABC):
    """One opened artifact. Its parts are opened when needed; used by one thread at a time."""

    def __init__(
        self, artifact: Artifact, engine: Engine, threads: int, device: str, memory_bytes: int | None = None
    ) -> None:
        self.settings = Settings(artifact.manifest.settings)
        self.components = Components(artifact, engine, threads=threads, device=device, memory_bytes=memory_bytes)
        self.space = LatentSpace.read(self.settings.part("latents"))
        self.sizes = SizeRule.read(self.settings.part("size"))
        self.autoencoder = Autoencoder(self.components, self.space.compression)
        self._artifact = artifact
        self._cache: OrderedDict[Hashable, Any] = OrderedDict()
        self._tokenizers: dict[str, Tokenizer] = {}
        self.abilities: Abilities = self._abilities()

    def _abilities(self) -> Abilities:
        """Return what this artifact can be asked for; without guidance there's no use for a negative prompt."""
        guidance = self.settings.guidance()
        pictures_taken = self.settings.part("references").whole("most") if "references" in self.settings else 1
        return Abilities(
            pictures=pictures_taken, mask=True, steps=self.settings.whole("steps"), guidance=guidance,
            negative=bool(guidance),
        )

    @abstractmethod
    def _read(self, job: Job) -> Any:
        """Check and read the words, and look at the pictures as far as the text encoder does."""

    @abstractmethod
    def _begin(self, job: Job, read: Any) -> Painting:
        """Encode the pictures, draw the noise and prepare the denoising. `read` is what `_read` returned."""

    def paint(self, prompt: Prompt) -> Generator[Step, None, Pixels]:
        """See `Painter.paint`."""
        job = self._job(prompt)
        self.components.pixels = job.width * job.height
        yield Step(stage="text", fraction=0.02)
        read = self._read(job)
        yield Step(stage="photo", fraction=0.2)
        painting = self._begin(job, read)
        keep = None if prompt.mask is None else self._keep(job, painting, prompt.mask)
        yield Step(stage="denoise", fraction=0.25, steps=job.steps)
        latents = yield from self._denoised(job, painting, keep, prompt.previews)
        yield Step(stage="paint", fraction=0.9)
        planes = yield from retold(
            self.autoencoder.decode(painting.to_raw(latents)),
            lambda share: Step(stage="paint", fraction=0.9 + 0.08 * share),
        )
        pixels = pictures.from_planes(planes)
        return pixels if prompt.mask is None else _inside(pixels, prompt, prompt.mask)

    def close(self) -> None:
        """Close all graphs."""
        self.components.close()
        self._cache.clear()

    def tokenizer(self, name: str = "tokenizer") -> Tokenizer:
        """Return the tokenizer in one of the artifact's files."""
        if name not in self._tokenizers:
            self._tokenizers[name] = Tokenizer(self._artifact.path(name))
        return self._tokenizers[name]

    def cached(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """Return what was made for the key, or make it; the last few are kept."""
        if key not in self._cache:
            self._cache[key] = make()
            while len(self._cache) > CACHED_TEXTS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        value: _Value = self._cache[key]
        return value

    def encoded(self, picture: Image.Image, width: int, height: int) -> Floats:
        """Return the raw latents of a picture, resized."""
        return self.autoencoder.encode(pictures.to_planes(pictures.resized(picture, width, height)))

    def flowing(
        self, job: Job, first: Floats, levels: Floats, predict: Predict, *, times: float,
        seen: tuple[Floats, Image.Image],
    ) -> Painting:
        """Return a painting by flow matching; `first` is noise, in pixels' layout or as tokens.

        `times` is what the denoiser takes for the time at level 1.
        """
        spatial = first.ndim == 4
        return Painting(
            solve=lambda keep: flow(first, levels, predict, times=times, keep=keep),
            to_raw=self.space.unscaled if spatial else lambda tokens: self.space.raw(tokens, job.height, job.width),
            from_raw=self.space.scaled if spatial else self.space.tokens,
            noised=lambda latents, level: (1 - level) * latents + level * first,
            seen=seen,
        )

    def _job(self, prompt: Prompt) -> Job:
        """Make every choice that the prompt leaves open; cheap, and the place where impossible ones are refused."""
        opened = tuple(pictures.picture_of(pixels) for pixels in prompt.pictures)
        # a mask is the photo's, and so is the result's shape then
        shape = opened[0].size if prompt.mask is not None else self._shaped_like(opened)
        width, height = self.sizes.target(shape, prompt.box)
        text = self.settings.part("text")
        return Job(
            instruction=prompt.instruction,
            negative=text.text("negative", "") if prompt.negative is None else prompt.negative,
            pictures=opened, width=width, height=height, steps=prompt.steps or self.abilities.steps,
            guidance={**self.abilities.guidance, **prompt.guidance}, noise=Noise(prompt.seed),
            masked=prompt.mask is not None,
        )

    def _shaped_like(self, opened: tuple[Image.Image, ...]) -> tuple[int, int]:
        """Return the size of the picture that the result has the proportions of: the photo."""
        return opened[0].size

    def _denoised(
        self, job: Job, painting: Painting, keep: Keep | None, previews: bool
    ) -> Generator[Step, None, Floats]:
        colours = ColourMap(*painting.seen) if previews else None
        done = count(1)

        def tell(denoised: Denoised) -> Step:
            place = next(done)
            step = Step(stage="denoise", fraction=0.25 + 0.65 * place / job.steps, done=place, steps=job.steps)
            if colours is None:
                return step
            return replace(step, preview=colours(painting.to_raw(denoised.clean)))

        return retold(painting.solve(keep), tell)

    def _keep(self, job: Job, painting: Painting, mask: Mask) -> Keep:
        """Return what puts the photo back where the mask doesn't ask for the edit."""
        rows, columns = job.height // self.space.compression, job.width // self.space.compression
        raw = painting.seen[0]
        if raw.shape[2:] != (rows, columns):  # the family saw the photo at another size
            raw = self.encoded(job.photo, job.width, job.height)
        photo = painting.from_raw(raw)
        # a latent is free when any pixel of it is marked; the edge is settled in pixels at the end
        marked = Image.fromarray((mask * 255).astype(np.uint8)).resize((columns, rows), Image.Resampling.BOX)
        free = np.repeat((np.asarray(marked) > 0).astype(np.float32)[None, None], self.space.channels, axis=1)
        inside = free if photo.ndim == 4 else folded(free, self.space.patch)

        def keep(latents: Floats, level: float) -> Floats:
            return inside * latents + (1 - inside) * painting.noised(photo, level)

        return keep


def _inside(painted: Pixels, prompt: Prompt, mask: Mask) -> Pixels:
    """Lay the painted picture over the photo where the mask says so; without a box at the photo's own size."""
    photo = prompt.pictures[0]
    size = (painted if prompt.box is not None else photo).shape[1::-1]
    under, over = (pictures.resized(pictures.picture_of(pixels), *size) for pixels in (photo, painted))
    share = Image.fromarray((mask * 255).round().astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return np.array(Image.composite(over, under, share).convert("RGBA"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionFamily:
    """Opens the artifacts of a family whose models are of one class. See `family.Family`."""

    name: str
    model: type[DiffusionModel]

    def open(
        self, artifact: Artifact, engine: Engine, *, threads: int, device: str = "cpu", memory_bytes: int | None = None
    ) -> DiffusionModel:
        """Check the settings; graphs are opened on first use."""
        require_whole(artifact)
        return self.model(artifact, engine, threads, device, memory_bytes)
