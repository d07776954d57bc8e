"""InstructPix2Pix (https://arxiv.org/abs/2211.09800): Stable Diffusion 1.5 that sees the photo beside the noise.

Guidance has two strengths: towards the words, and towards the photo.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.diffusion.guidance import away_from_both
from edge_runtime.diffusion.model import DiffusionFamily, DiffusionModel, Job, Painting
from edge_runtime.diffusion.schedule import ancestral, noise_levels
from edge_runtime.diffusion.settings import Settings
from edge_runtime.diffusion.tokens import causal_bias, within
from edge_runtime.errors import ArtifactError
from edge_runtime.family import Abilities

Floats = NDArray[np.float32]
_MARKS = 2  # tokens that CLIP's tokenizer adds: start and end


class InstructPix2Pix(DiffusionModel):
    """One opened artifact."""

    def _abilities(self) -> Abilities:
        _check(self.settings)
        return super()._abilities()

    def _read(self, job: Job) -> dict[str, Floats]:
        # as the original: one strength that is off turns both off
        guided = job.guidance["text"] > 1 and job.guidance["image"] >= 1
        tokens = {"edit": self._ids(job.instruction, "prompt")}
        if guided:
            tokens["negative"] = self._ids(job.negative, "negative_prompt")
        return {name: self._embeddings(ids) for name, ids in tokens.items()}

    def _ids(self, words: str, param: str) -> list[int]:
        return within(self.tokenizer().ids(words), self.settings.part("text").whole("tokens"), _MARKS, param)

    def _embeddings(self, ids: list[int]) -> Floats:
        """Return float32 (1, tokens, width); padding is looked at, as the model was trained."""
        return self.cached(("text", *ids), lambda: self._encode(ids))

    def _encode(self, ids: list[int]) -> Floats:
        text = self.settings.part("text")
        tokens = text.whole("tokens")
        padded = ids + [text.whole("padding", least=0)] * (tokens - len(ids))
        row = np.array([padded], np.int64)
        return self.components.run("text_encoder", input_ids=row, attention_bias=causal_bias(tokens))["embeddings"]

    def _begin(self, job: Job, read: dict[str, Floats]) -> Painting:
        levels = noise_levels(job.steps, self.settings.part("scheduler"))
        size = (job.height // self.space.compression, job.width // self.space.compression)
        first = job.noise.normal(1, self.space.channels, *size)
        # the photo's latents go in unscaled: the model was trained that way
        photo = self.encoded(job.photo, job.width, job.height)
        nothing = np.zeros_like(photo)

        def branch(latents: Floats, time: float, words: str, reference: Floats) -> Floats:
            inputs = {
                "hidden_states": np.concatenate((latents, reference), axis=1),
                "timestep": np.array([time], np.float32), "encoder_hidden_states": read[words],
            }
            return self.components.run("denoiser", **inputs)["prediction"]

        def predict(latents: Floats, time: float) -> Floats:
            edited = branch(latents, time, "edit", photo)
            if "negative" not in read:
                return edited
            same = branch(latents, time, "negative", photo)
            blind = branch(latents, time, "negative", nothing)
            return away_from_both(edited, same, blind, job.guidance["text"], job.guidance["image"])

        start = first * np.float32(levels.first)
        return Painting(
            solve=lambda keep: ancestral(start, levels, predict, job.noise, keep=keep),
            to_raw=self.space.unscaled,
            from_raw=self.space.scaled,
            noised=lambda latents, level: latents + level * first,
            seen=(photo, job.photo),
        )


def _check(settings: Settings) -> None:
    """Raise ArtifactError for a schedule that isn't known, before anything is painted with it."""
    scheduler = settings.part("scheduler")
    known = {
        "scheduler_class": (settings.text("scheduler_class"), "EulerAncestralDiscreteScheduler"),
        "prediction_type": (scheduler.text("prediction_type"), "epsilon"),
    }
    for name, (value, allowed) in known.items():
        if value != allowed:
            raise ArtifactError(
                f"the checkpoint's {name.replace('_', ' ')} can't be run", got=ascii(value), allowed=allowed,
                hint=f"convert the checkpoint again, saved with {allowed}" if name == "scheduler_class" else "",
            )
    noise_levels(settings.whole("steps"), scheduler)


FAMILY = DiffusionFamily(name="instruct-pix2pix", model=InstructPix2Pix)
