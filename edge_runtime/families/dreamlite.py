"""DreamLite and DreamLite-mobile (https://arxiv.org/abs/2603.28713): a UNet that sees the photo beside the noise.

The instruction is read by Qwen3-VL, which looks at the photo too; the hidden state before its last norm is what counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.diffusion import pictures, qwen_vl
from edge_runtime.diffusion.guidance import away_from_both
from edge_runtime.diffusion.model import DiffusionFamily, DiffusionModel, Job, Painting
from edge_runtime.diffusion.schedule import flow_levels, linear_shift
from edge_runtime.diffusion.tokens import within

Floats = NDArray[np.float32]
_LATENTS_PER_TOKEN = 4  # as the schedule counts; the UNet has no tokens


class DreamLite(DiffusionModel):
    """One opened artifact."""

    def _read(self, job: Job) -> dict[str, Floats]:
        text = self.settings.part("text")
        wanted = {"edit": text.text("instruction").replace("{}", job.instruction)}
        if self.abilities.guidance:
            wanted["negative"] = job.negative
        for words in (job.instruction, job.negative):
            ids = within(self.tokenizer().ids(words), text.whole("most_tokens"))
            qwen_vl.check_words(ids, text.whole("image_token"))
        key = pictures.digest(job.pictures)
        return {name: self._embeddings(job, words, key) for name, words in wanted.items()}

    def _embeddings(self, job: Job, words: str, key: bytes) -> Floats:
        return self.cached(("text", words, key), lambda: self._encode(job, words, key))

    def _encode(self, job: Job, words: str, key: bytes) -> Floats:
        text, vision = self.settings.part("text"), self.settings.part("vision")
        side = vision.whole("pixels")
        patches = qwen_vl.patches(pictures.resized(job.photo, side, side), vision)
        image = text.whole("image_token")
        written = self.tokenizer().ids(text.text("template").replace("{}", words))
        ids = qwen_vl.with_pictures(written, image, [patches.tokens])
        seen = self.cached(
            ("seen", key),
            lambda: self.components.run("vision_encoder", **qwen_vl.whole_inputs(patches, vision)),
        )
        places = qwen_vl.text_positions(np.array(ids) == image, [patches.tokens])
        inputs = qwen_vl.text_inputs(ids, image, places, text.part("rotary"))
        hidden = self.components.run("text_encoder", **seen, **inputs)["embeddings"]
        return np.ascontiguousarray(hidden[:, text.whole("dropped_tokens", least=0) :])

    def _begin(self, job: Job, read: dict[str, Floats]) -> Painting:
        size = (job.height // self.space.compression, job.width // self.space.compression)
        first = job.noise.normal(1, self.space.channels, *size)
        raw = self.encoded(job.photo, job.width, job.height)
        photo = self.space.scaled(raw)
        scheduler = self.settings.part("scheduler")
        shift = linear_shift(size[0] * size[1] // _LATENTS_PER_TOKEN, scheduler)
        levels = flow_levels(job.steps, scheduler, shift)

        def branch(latents: Floats, time: float, words: str, reference: Floats) -> Floats:
            inputs = {
                "hidden_states": np.concatenate((latents, reference), axis=3),
                "timestep": np.array([time], np.float32),
                "encoder_hidden_states": read[words],
                "time_ids": np.array([[job.width, job.height]], np.float32),
            }
            prediction = self.components.run("denoiser", **inputs)["prediction"]
            return prediction[..., : latents.shape[3]]

        def predict(latents: Floats, time: float) -> Floats:
            edited = branch(latents, time, "edit", photo)
            if not self.abilities.guidance:
                return edited
            blind = branch(latents, time, "negative", np.zeros_like(photo))
            same = branch(latents, time, "negative", photo)
            return away_from_both(edited, same, blind, job.guidance["text"], job.guidance["image"])

        times = scheduler.number("num_train_timesteps")
        return self.flowing(job, first, levels, predict, times=times, seen=(raw, job.photo))


FAMILY = DiffusionFamily(name="dreamlite", model=DreamLite)
