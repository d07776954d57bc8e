"""DreamLite and DreamLite-mobile (https://arxiv.org/abs/2603.28713): a UNet that sees the photo beside the noise.

The instruction is read by Qwen3-VL, which looks at the photo too; the hidden state before its last norm is what counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.artifact import Artifact
from edge_runtime.diffusion import pictures, qwen_vl
from edge_runtime.diffusion.model import DiffusionModel, Job, Painting
from edge_runtime.diffusion.schedule import flow, flow_levels, linear_shift
from edge_runtime.diffusion.tokens import within
from edge_runtime.engine import Engine
from edge_runtime.family import Abilities

Floats = NDArray[np.float32]
_LATENTS_PER_TOKEN = 4  # as the schedule counts; the UNet has no tokens


class DreamLite(DiffusionModel):
    """One opened artifact."""

    def _abilities(self) -> Abilities:
        guidance = self.settings.guidance()
        return Abilities(
            pictures=1, mask=True, steps=self.settings.whole("steps"), guidance=guidance, negative=bool(guidance)
        )

    def _read(self, job: Job) -> dict[str, Floats]:
        text = self.settings.part("text")
        wanted = {"edit": text.text("instruction").replace("{}", job.instruction)}
        if self.abilities.guidance:
            wanted["negative"] = job.negative
        for words in (job.instruction, job.negative):
            ids = within(self.tokenizer().ids(words), text.whole("most_tokens"))
            qwen_vl.check_words(ids, text.whole("image_token"))
        return {name: self._embeddings(job, words) for name, words in wanted.items()}

    def _embeddings(self, job: Job, words: str) -> Floats:
        return self.cached(("text", words, job.pictures_key), lambda: self._encode(job, words))

    def _encode(self, job: Job, words: str) -> Floats:
        text, vision = self.settings.part("text"), self.settings.part("vision")
        side = vision.whole("pixels")
        patches = qwen_vl.patches(pictures.resized(job.photo, side, side), vision)
        image = text.whole("image_token")
        rows, columns = patches.tokens
        ids = []
        for token in self.tokenizer().ids(text.text("template").replace("{}", words)):
            ids += [token] * (rows * columns) if token == image else [token]
        seen = self.cached(
            ("seen", job.pictures_key),
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
            by_text, by_image = np.float32(job.guidance["text"]), np.float32(job.guidance["image"])
            guided: Floats = blind + by_text * (edited - same) + by_image * (same - blind)
            return guided

        return Painting(
            solve=lambda keep: flow(first, levels, predict, times=scheduler.number("num_train_timesteps"), keep=keep),
            to_raw=self.space.unscaled,
            from_raw=self.space.scaled,
            noised=lambda latents, level: (1 - level) * latents + level * first,
            seen=(raw, job.photo),
        )


class DreamLiteFamily:
    """Opens DreamLite artifacts."""

    name = "dreamlite"

    def open(
        self, artifact: Artifact, engine: Engine, *, threads: int, device: str = "cpu", memory_bytes: int | None = None
    ) -> DreamLite:
        """Check the settings; graphs are opened on first use."""
        return DreamLite(artifact, engine, threads, device, memory_bytes)


FAMILY = DreamLiteFamily()
