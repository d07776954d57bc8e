"""`DiffusionModel`: the way of every edit by denoising. A family says how text is read and what the denoiser is fed.

read words and pictures -> latents of the pictures -> noise -> denoise, step by step -> paint the latents as pixels
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.artifact import Artifact
from edge_runtime.diffusion import pictures
from edge_runtime.diffusion.autoencoder import Autoencoder
from edge_runtime.diffusion.components import Components
from edge_runtime.diffusion.latents import LatentSpace, folded
from edge_runtime.diffusion.noise import Noise
from edge_runtime.diffusion.pictures import SizeRule
from edge_runtime.diffusion.preview import ColourMap
from edge_runtime.diffusion.schedule import Denoised, Keep
from edge_runtime.diffusion.settings import Settings
from edge_runtime.diffusion.tokens import Tokenizer
from edge_runtime.engine import Engine
from edge_runtime.family import Abilities, Mask, Pixels, Prompt
from edge_runtime.request import Step

Floats = NDArray[np.float32]
Solve = Callable[[Keep | None], Generator[Denoised, None, Floats]]
_Value = TypeVar("_Value")

CACHED_TEXTS: Final = 8
"""Instructions whose embeddings are kept; one of FLUX's takes 8 MB."""


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
    pictures_key: str
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
        self.abilities: Abilities = self._abilities()

    @abstractmethod
    def _abilities(self) -> Abilities:
        """Return what this artifact can be asked for."""

    @abstractmethod
    def _read(self, job: Job) -> Any:
        """Check and read the words, and look at the pictures as far as the text encoder does."""

    @abstractmethod
    def _begin(self, job: Job, read: Any) -> Painting:
        """Encode the pictures, draw the noise and prepare the denoising. `read` is what `_read` returned."""

    def paint(self, prompt: Prompt) -> Generator[Step, None, Pixels]:
        """See `Painter.paint`."""
        job = self._job(prompt)
        yield Step(stage="text", fraction=0.02)
        read = self._read(job)
        yield Step(stage="photo", fraction=0.2)
        painting = self._begin(job, read)
        keep = None if prompt.mask is None else self._keep(job, painting, prompt.mask)
        yield Step(stage="denoise", fraction=0.25, steps=job.steps)
        latents = yield from self._denoised(job, painting, keep, prompt.previews)
        yield Step(stage="paint", fraction=0.9)
        planes = yield from _painted(self.autoencoder.decode(painting.to_raw(latents)))
        pixels = pictures.from_planes(planes)
        return pixels if prompt.mask is None else _inside(pixels, prompt, prompt.mask)

    def close(self) -> None:
        """Close all graphs."""
        self.components.close()
        self._cache.clear()

    def tokenizer(self, name: str = "tokenizer") -> Tokenizer:
        """Return the tokenizer in one of the artifact's files."""
        return self.cached(("file", name), lambda: Tokenizer(self._artifact.path(name)))

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

    def _job(self, prompt: Prompt) -> Job:
        """Make every choice that the prompt leaves open; cheap, and the place where impossible ones are refused."""
        opened = tuple(pictures.picture_of(pixels) for pixels in prompt.pictures)
        # a mask is the photo's, and so is the result's shape then
        shape = opened[0].size if prompt.mask is not None else self._shaped_like(opened)
        width, height = self.sizes.target(shape, prompt.box)
        digest = hashlib.blake2b(digest_size=16)
        for picture in opened:
            digest.update(repr(picture.size).encode())
            digest.update(picture.tobytes())
        default = self.settings.part("text")
        return Job(
            instruction=prompt.instruction,
            negative=prompt.negative if prompt.negative is not None else _negative(default),
            pictures=opened, width=width, height=height, steps=prompt.steps or self.abilities.steps,
            guidance={**self.abilities.guidance, **prompt.guidance}, noise=Noise(prompt.seed),
            pictures_key=digest.hexdigest(), masked=prompt.mask is not None,
        )

    def _shaped_like(self, opened: tuple[Image.Image, ...]) -> tuple[int, int]:
        """Return the size of the picture that the result has the proportions of: the photo."""
        return opened[0].size

    def _denoised(
        self, job: Job, painting: Painting, keep: Keep | None, previews: bool
    ) -> Generator[Step, None, Floats]:
        colours = ColourMap(*painting.seen) if previews else None
        solving = painting.solve(keep)
        done = 0
        while True:
            try:
                denoised = next(solving)
            except StopIteration as finished:
                latents: Floats = finished.value
                return latents
            done += 1
            step = Step(stage="denoise", fraction=0.25 + 0.65 * done / job.steps, done=done, steps=job.steps)
            if colours is not None:
                step = replace(step, preview=colours(painting.to_raw(denoised.clean)))
            yield step

    def _keep(self, job: Job, painting: Painting, mask: Mask) -> Keep:
        """Return what puts the photo back where the mask doesn't ask for the edit."""
        photo = painting.from_raw(self.encoded(job.photo, job.width, job.height))
        rows, columns = job.height // self.space.compression, job.width // self.space.compression
        # a latent is free when any pixel of it is marked; the edge is settled in pixels at the end
        marked = Image.fromarray((mask * 255).astype(np.uint8)).resize((columns, rows), Image.Resampling.BOX)
        free = np.repeat((np.asarray(marked) > 0).astype(np.float32)[None, None], self.space.channels, axis=1)
        inside = free if photo.ndim == 4 else folded(free, self.space.patch)

        def keep(latents: Floats, level: float) -> Floats:
            return inside * latents + (1 - inside) * painting.noised(photo, level)

        return keep


def _negative(text: Settings) -> str:
    return text.text("negative") if "negative" in text else ""


def _painted(shares: Generator[float, None, Floats]) -> Generator[Step, None, Floats]:
    while True:
        try:
            share = next(shares)
        except StopIteration as finished:
            planes: Floats = finished.value
            return planes
        if share:
            yield Step(stage="paint", fraction=0.9 + 0.08 * share)


def _inside(painted: Pixels, prompt: Prompt, mask: Mask) -> Pixels:
    """Lay the painted picture over the photo where the mask says so; without a box at the photo's own size."""
    photo = prompt.pictures[0]
    height, width = painted.shape[:2] if prompt.box is not None else photo.shape[:2]
    under = np.asarray(pictures.resized(pictures.picture_of(photo), width, height), np.float32)
    over = np.asarray(pictures.resized(pictures.picture_of(painted), width, height), np.float32)
    share = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR))[..., None]
    result = np.full((height, width, 4), 255, np.uint8)
    result[..., :3] = (under + share * (over - under)).round()
    return result
