"""What editors on FLUX.1 (https://arxiv.org/abs/2506.15742) share: words, and one sequence of target and references.

A transformer sees text, the noisy target and the clean references side by side; rotary positions tell them apart. The
families only say how references are cut; where those stand and how steps are spaced is in the manifest.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.diffusion import pictures, rotary
from edge_runtime.diffusion.guidance import away
from edge_runtime.diffusion.latents import folded
from edge_runtime.diffusion.model import DiffusionModel, Job, Painting
from edge_runtime.diffusion.schedule import flow_levels, linear_shift
from edge_runtime.diffusion.settings import Settings
from edge_runtime.diffusion.tokens import causal_bias
from edge_runtime.errors import OptionError
from edge_runtime.family import Abilities

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

EMBEDDED = "embedded"
"""The guidance that the transformer takes as a number; it learned to answer as if it had been guided by text."""

TEXT = "text"
"""The guidance away from the negative prompt, which costs a second pass; none at 1 and below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A text as read: `embeddings` float32 (1, tokens, channels) of T5, `pooled` float32 (1, channels) of CLIP."""

    embeddings: Floats = field(repr=False)
    pooled: Floats = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """The instruction, then where it is guided by text the negative prompt; and the references, of whole tokens."""

    words: tuple[Words, ...]
    references: tuple[Image.Image, ...]


class FluxModel(DiffusionModel):
    """One opened artifact."""

    keeps_photo: ClassVar[bool]
    """Whether the target can stand on the photo, so that a mask makes sense."""

    @abstractmethod
    def _references(self, job: Job) -> tuple[Image.Image, ...]:
        """Return the pictures that the transformer sees, their sides whole tokens; raises OptionError."""

    def _abilities(self) -> Abilities:
        abilities = super()._abilities()
        guidance = dict(abilities.guidance)
        if not self.components.has_input("denoiser", "guidance"):
            guidance.pop(EMBEDDED, None)
        return replace(abilities, mask=self.keeps_photo, guidance=guidance, negative=TEXT in guidance)

    def _read(self, job: Job) -> Read:
        references, texts = self._references(job), _texts(job)
        # all are tokenised before the first is read: a text over the limit should fail at once
        ids = [self._ids(text) for text in texts]
        words = tuple(self._words(text, *both) for text, both in zip(texts, ids, strict=True))
        return Read(words=words, references=references)

    def _ids(self, text: str) -> tuple[Ids, Ids]:
        """Return int64 (1, tokens) for CLIP and for T5; raises InstructionError for a text too long for T5.

        CLIP, which gives one vector for the whole text, reads the beginning of a longer one.
        """
        settings = self.settings.part("text")
        clip, t5 = settings.part("clip"), settings.part("t5")
        wide = self.tokenizer("tokenizer_2").padded(text, t5.whole("tokens"), t5.whole("padding", least=0))
        start = shortened(self.tokenizer().ids(text), clip.whole("tokens"))
        start += [clip.whole("padding", least=0)] * (clip.whole("tokens") - len(start))
        return np.array([start], np.int64), wide

    def _words(self, text: str, clip: Ids, t5: Ids) -> Words:
        def read() -> Words:
            bias = causal_bias(clip.shape[1])
            return Words(
                pooled=self.components.run("text_encoder", input_ids=clip, attention_bias=bias)["pooled"],
                embeddings=self.components.run("text_encoder_2", input_ids=t5)["embeddings"],
            )

        return self.cached(("text", text), read)

    def _begin(self, job: Job, read: Read) -> Painting:
        rows, columns = job.height // self.space.compression, job.width // self.space.compression
        first = folded(job.noise.normal(1, self.space.channels, rows, columns), self.space.patch)
        raws = [self.autoencoder.encode(pictures.to_planes(picture)) for picture in read.references]
        clean = [self.space.tokens(raw) for raw in raws]
        sizes = [(job.height, job.width), *((picture.height, picture.width) for picture in read.references)]
        grids = [(height // self.space.token_pixels, width // self.space.token_pixels) for height, width in sizes]
        turns = self._turns(read.words[0].embeddings.shape[1], grids)
        scheduler = self.settings.part("scheduler")
        counted = rows * columns // self.settings.part("schedule").whole("latents_per_token")
        levels = flow_levels(job.steps, scheduler, linear_shift(counted, scheduler))

        def predict(latents: Floats, level: float) -> Floats:
            sequence = np.concatenate((latents, *clean), axis=1)
            edited, *unwanted = (self._predicted(job, words, sequence, turns, level) for words in read.words)
            for blind in unwanted:
                edited = away(edited, blind, job.guidance[TEXT])
            return edited[:, : latents.shape[1]]

        return self.flowing(job, first, levels, predict, times=1.0, seen=(raws[0], read.references[0]))

    def _turns(self, text_tokens: int, grids: Sequence[tuple[int, int]]) -> dict[str, Floats]:
        """Return the rotary tables of the whole sequence; every token of text stands at zero."""
        settings = self.settings.part("rotary")
        places = positions(grids, self.settings.part("references"))
        text = np.zeros((text_tokens, places.shape[1]), np.int64)
        widths, theta = settings.wholes("widths", places.shape[1]), settings.number("theta")
        cos, sin = rotary.tables(np.concatenate((text, places)), widths, theta)
        return {"rotary_cos": cos, "rotary_sin": sin}

    def _predicted(self, job: Job, words: Words, sequence: Floats, turns: dict[str, Floats], level: float) -> Floats:
        """Run the transformer over a sequence (1, tokens, channels) at a noise level."""
        inputs = {
            "hidden_states": sequence, "encoder_hidden_states": words.embeddings, "pooled": words.pooled,
            "timestep": np.array([level], np.float32), **turns,
        }
        if EMBEDDED in self.abilities.guidance:
            inputs["guidance"] = np.array([job.guidance[EMBEDDED]], np.float32)
        return self.components.run("denoiser", **inputs)["prediction"]


def _texts(job: Job) -> list[str]:
    """Return what is to be read; raises OptionError for a negative prompt that would change nothing."""
    strength = job.guidance.get(TEXT, 1.0)
    if job.negative and strength <= 1:
        raise OptionError(
            "a negative prompt counts only with text guidance above 1", got=f"{strength:g}",
            hint="ask for text guidance too, such as 2; it takes twice as long", param="negative_prompt",
        )
    return [job.instruction, job.negative] if strength > 1 else [job.instruction]


def positions(grids: Sequence[tuple[int, int]], references: Settings) -> Ids:
    """Return where tokens stand, (tokens, 3), for rows and columns of the target, then of every reference.

    References have numbers on the first axis, or on a diagonal each begins where the one before it ends.
    """
    (rows, columns), *others = grids
    places = [rotary.grid(rows, columns)]
    first, step = references.whole("first", least=0), references.whole("step", least=0)
    down, right = (rows, columns) if references.flag("diagonal") else (0, 0)
    for rows, columns in others:
        places.append(rotary.grid(rows, columns, first=first, down=down, right=right))
        first += step
        if references.flag("diagonal"):
            down, right = down + rows, right + columns
    return np.concatenate(places)


def shortened(ids: list[int], most: int) -> list[int]:
    """Return at most so many ids; what is cut off is before the end token."""
    return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]
