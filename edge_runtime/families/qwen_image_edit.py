"""Qwen-Image-Edit (https://arxiv.org/abs/2508.02324) for one picture, its Plus variants 2509 and 2511 for several.

Qwen2.5-VL reads the instruction and sees the pictures; their latents stand behind the noise in the denoiser's sequence.

`text.positions` is `multimodal`, as the weights were trained: in the text encoder's sequence pictures have rows and
columns. diffusers 0.42 under transformers 5 doesn't say which tokens are pictures, so all get the next place, one after
another; `plain` does so too, for comparing with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.diffusion import pictures, qwen_vl
from edge_runtime.diffusion.guidance import away, rescaled
from edge_runtime.diffusion.latents import folded
from edge_runtime.diffusion.model import DiffusionFamily, DiffusionModel, Job, Painting
from edge_runtime.diffusion.rotary import grid, tables
from edge_runtime.diffusion.schedule import flow_levels, linear_shift
from edge_runtime.diffusion.settings import Settings
from edge_runtime.diffusion.tokens import within
from edge_runtime.errors import ArtifactError

Floats = NDArray[np.float32]
Grid = tuple[int, int]
"""Rows and columns of tokens."""


class QwenImageEdit(DiffusionModel):
    """One opened artifact."""

    def _shaped_like(self, opened: tuple[Image.Image, ...]) -> tuple[int, int]:
        return opened[-1 if self.settings.part("size").text("of") == "last" else 0].size

    def _read(self, job: Job) -> dict[str, Floats]:
        wanted = {"edit": job.instruction}
        if job.guidance.get("text", 1.0) > 1:
            wanted["negative"] = job.negative
        text = self.settings.part("text")
        for words in wanted.values():
            ids = within(self.tokenizer().ids(words), text.whole("most_tokens"))
            qwen_vl.check_words(ids, text.whole("image_token"))
        key = pictures.digest(job.pictures)
        return {name: self._embeddings(job, words, key) for name, words in wanted.items()}

    def _embeddings(self, job: Job, words: str, key: bytes) -> Floats:
        return self.cached(("text", words, key), lambda: self._encode(job, words, key))

    def _encode(self, job: Job, words: str, key: bytes) -> Floats:
        text = self.settings.part("text")
        seen, grids = self.cached(("seen", key), lambda: self._seen(job.pictures))
        named = "".join(text.text("picture").replace("{}", str(place + 1)) for place in range(len(grids)))
        image = text.whole("image_token")
        written = self.tokenizer().ids(text.text("template").replace("{}", named + words))
        ids = qwen_vl.with_pictures(written, image, grids)
        inputs = qwen_vl.text_inputs(ids, image, _positions(ids, grids, text), text.part("rotary"))
        hidden = self.components.run("text_encoder", image_embeddings=seen, **inputs)["embeddings"]
        return np.ascontiguousarray(hidden[:, text.whole("dropped_tokens", least=0) :])

    def _seen(self, several: tuple[Image.Image, ...]) -> tuple[Floats, list[Grid]]:
        """Return the tokens of all pictures, one after another, (tokens, width), and every picture's grid of them."""
        vision = self.settings.part("vision")
        patched = [qwen_vl.patches(pictures.resized(one, *_sized(one, vision)), vision) for one in several]
        tokens = [
            self.components.run("vision_encoder", **qwen_vl.window_inputs(one, vision))["image_embeddings"]
            for one in patched
        ]
        return np.concatenate(tokens), [one.tokens for one in patched]

    def _begin(self, job: Job, read: dict[str, Floats]) -> Painting:
        patch = self.space.patch
        sides = (job.height // self.space.compression, job.width // self.space.compression)
        first = folded(job.noise.normal(1, self.space.channels, *sides), patch)
        references = self.settings.part("references")
        raws = [self.encoded(one, *_sized(one, references)) for one in job.pictures]
        behind = [self.space.tokens(raw) for raw in raws]
        grids = [(rows // patch, columns // patch) for rows, columns in (sides, *(raw.shape[2:] for raw in raws))]
        fixed = {name: self._fixed(grids, embeddings) for name, embeddings in read.items()}
        scheduler = self.settings.part("scheduler")
        levels = flow_levels(job.steps, scheduler, linear_shift(first.shape[1], scheduler))
        keeps_length = self.settings.flag("guidance_rescaled")

        def branch(latents: Floats, time: float, words: str) -> Floats:
            prediction = self.components.run(
                "denoiser", hidden_states=np.concatenate((latents, *behind), axis=1),
                timestep=np.array([time], np.float32), **fixed[words],
            )["prediction"]
            return prediction[:, : latents.shape[1]]

        def predict(latents: Floats, time: float) -> Floats:
            edited = branch(latents, time, "edit")
            if "negative" not in read:
                return edited
            guided = away(edited, branch(latents, time, "negative"), job.guidance["text"])
            return rescaled(guided, edited) if keeps_length else guided

        return self.flowing(job, first, levels, predict, times=1.0, seen=(raws[0], job.photo))

    def _fixed(self, grids: list[Grid], embeddings: Floats) -> dict[str, Any]:
        """Return the denoiser's inputs that stay the same in all steps. The first grid is the result's."""
        inputs: dict[str, Any] = {
            "encoder_hidden_states": embeddings,
            **rotary_inputs(grids, embeddings.shape[1], self.settings.part("rotary")),
        }
        if self.components.has_input("denoiser", "modulation_index"):  # references are modulated as at time 0
            own = grids[0][0] * grids[0][1]
            inputs["modulation_index"] = np.repeat([[0, 1]], [own, len(inputs["rotary_cos"]) - own], axis=1)
        return inputs


def rotary_inputs(grids: list[Grid], words: int, rotary: Settings) -> dict[str, Floats]:
    """Return the denoiser's tables, (tokens, width) of all pictures and (words, width) of the words.

    Rows and columns are counted from every picture's middle; words stand behind the last of any, on all three axes.
    """
    pictures = [
        grid(rows, columns, first=place, down=rows // 2 - rows, right=columns // 2 - columns)
        for place, (rows, columns) in enumerate(grids)
    ]
    behind = np.arange(words) + max(side // 2 for sides in grids for side in sides)
    widths, theta = rotary.wholes("widths", 3), rotary.number("theta")
    cos, sin = tables(np.concatenate(pictures), widths, theta)
    text_cos, text_sin = tables(np.tile(behind[:, None], 3), widths, theta)
    return {"rotary_cos": cos, "rotary_sin": sin, "text_rotary_cos": text_cos, "text_rotary_sin": text_sin}


def _positions(ids: list[int], grids: list[Grid], text: Settings) -> NDArray[np.int64]:
    kind = text.text("positions")
    if kind == "multimodal":
        return qwen_vl.text_positions(np.array(ids) == text.whole("image_token"), grids)
    if kind == "plain":
        return np.tile(np.arange(len(ids)), (3, 1))
    raise ArtifactError("the text encoder's positions are of an unknown kind", got=ascii(kind))


def _sized(picture: Image.Image, copy: Settings) -> tuple[int, int]:
    """Return width and height of the copy of a picture that an encoder gets."""
    return pictures.by_area(*picture.size, copy.whole("area"), copy.whole("rounded_to"))


FAMILY = DiffusionFamily(name="qwen-image-edit", model=QwenImageEdit)
