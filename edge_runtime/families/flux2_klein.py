"""FLUX.2 klein, 4B and 9B (Black Forest Labs): one transformer sees the words, the picture and its references.

The words are read by Qwen3, padded to a fixed length, three of whose hidden states stand side by side in a token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.diffusion import pictures, rotary
from edge_runtime.diffusion.guidance import away
from edge_runtime.diffusion.latents import folded
from edge_runtime.diffusion.model import DiffusionFamily, DiffusionModel, Job, Painting
from edge_runtime.diffusion.schedule import empirical_shift, flow_levels
from edge_runtime.diffusion.tokens import causal_bias, within

Floats = NDArray[np.float32]
_AXES = 4  # of positions: picture, row, column, word


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """Embeddings of the instruction and, under guidance, of the negative prompt; pictures at the sizes they're seen."""

    words: Floats
    negative: Floats | None
    references: tuple[Image.Image, ...]


class Flux2Klein(DiffusionModel):
    """One opened artifact, distilled or not."""

    def _read(self, job: Job) -> _Read:
        references = self._references(job)
        words, negative = self._ids(job.instruction, "prompt"), None
        if job.guidance.get("text", 1.0) > 1:
            negative = self._ids(job.negative, "negative_prompt")
        return _Read(
            words=self._embeddings(words), negative=None if negative is None else self._embeddings(negative),
            references=references,
        )

    def _ids(self, words: str, param: str) -> list[int]:
        text, tokenizer = self.settings.part("text"), self.tokenizer()
        template = text.text("template")
        spare = len(tokenizer.ids(template.replace("{}", "")))
        return within(tokenizer.ids(template.replace("{}", words)), text.whole("tokens"), spare, param)

    def _embeddings(self, ids: list[int]) -> Floats:
        """Return float32 (1, tokens, width); the denoiser sees the padding too, so it is read along."""
        return self.cached(("text", *ids), lambda: self._encode(ids))

    def _encode(self, ids: list[int]) -> Floats:
        text = self.settings.part("text")
        tokens, turning = text.whole("tokens"), text.part("rotary")
        angles = np.arange(tokens)[:, None] * rotary.frequencies(turning.whole("width"), turning.number("theta"))
        cos, sin = rotary.halves(angles)
        padded = ids + [text.whole("padding", least=0)] * (tokens - len(ids))
        return self.components.run(
            "text_encoder", input_ids=np.array([padded], np.int64), attention_bias=causal_bias(tokens, len(ids)),
            rotary_cos=cos, rotary_sin=sin,
        )["embeddings"]

    def _references(self, job: Job) -> tuple[Image.Image, ...]:
        """Return the pictures at their own sizes, scaled to an area when larger, and cropped to whole tokens."""
        rule = self.settings.part("references")
        area, multiple = rule.whole("area"), rule.whole("multiple")
        seen = [pictures.cut_to_multiple(bounded(picture, area), multiple) for picture in job.pictures]
        if job.masked:  # the photo stays around the mask, so what is seen of it must not be shifted by the crop
            seen[0] = pictures.resized(job.photo, *seen[0].size)
        return tuple(seen)

    def _tables(self, read: _Read, rows: int, columns: int) -> tuple[Floats, Floats]:
        """Return cosines and sines of every token: words count along the last axis, pictures along the first."""
        rule, turning, side = self.settings.part("references"), self.settings.part("rotary"), self.space.token_pixels
        words = np.zeros((read.words.shape[1], _AXES), np.int64)
        words[:, 3] = np.arange(len(words))
        places = [words, rotary.grid(rows, columns, axes=_AXES)]
        for place, picture in enumerate(read.references):
            first = rule.whole("first") + place * rule.whole("step")
            places.append(rotary.grid(picture.height // side, picture.width // side, first=first, axes=_AXES))
        return rotary.tables(np.concatenate(places), turning.wholes("widths", _AXES), turning.number("theta"))

    def _begin(self, job: Job, read: _Read) -> Painting:
        rows, columns = job.height // self.space.token_pixels, job.width // self.space.token_pixels
        # noise is drawn per channel of a patch, as the original does: the same numbers, otherwise laid out than latents
        first = folded(job.noise.normal(1, self.space.channels * self.space.patch**2, rows, columns), 1)
        raws = [self.autoencoder.encode(pictures.to_planes(picture)) for picture in read.references]
        references = [self.space.tokens(raw) for raw in raws]
        cos, sin = self._tables(read, rows, columns)
        shift = empirical_shift(rows * columns, job.steps)
        levels = flow_levels(job.steps, self.settings.part("scheduler"), shift)

        def branch(latents: Floats, time: float, words: Floats) -> Floats:
            inputs = {
                "hidden_states": np.concatenate((latents, *references), axis=1), "encoder_hidden_states": words,
                "timestep": np.array([time], np.float32), "rotary_cos": cos, "rotary_sin": sin,
            }
            return self.components.run("denoiser", **inputs)["prediction"][:, : rows * columns]

        def predict(latents: Floats, time: float) -> Floats:
            edited = branch(latents, time, read.words)
            if read.negative is None:
                return edited
            return away(edited, branch(latents, time, read.negative), job.guidance["text"])

        return self.flowing(job, first, levels, predict, times=1.0, seen=(raws[0], read.references[0]))


def bounded(picture: Image.Image, area: int) -> Image.Image:
    """Scale a picture of more pixels than `area` down to about as many; sides are rounded down."""
    scale = math.sqrt(area / (picture.width * picture.height))
    return picture if scale >= 1 else pictures.resized(picture, int(picture.width * scale), int(picture.height * scale))


FAMILY = DiffusionFamily(name="flux2-klein", model=Flux2Klein)
