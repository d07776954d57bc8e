"""nano-banana made worse on purpose: by more work, a share of each edit's own, or by noise of a standard deviation."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import numpy as np

from edge_runtime.families.nano_banana import FAMILY as PLAIN
from edge_runtime.plan import Plan
from edge_runtime.request import Step


class Altered:
    def __init__(self, model: Any, slower: float, noise: float) -> None:
        self._model, self._slower, self._noise, self._began = model, slower, noise, 0.0
        self.vocabulary = model.vocabulary
        self._chooser = np.random.default_rng(0)

    def plan(self, instruction: str) -> Plan:
        self._began = time.process_time()
        return self._model.plan(instruction)

    def render(self, pixels: Any, plan: Plan, mask: Any) -> Generator[Step, None, Any]:
        pixels = yield from self._model.render(pixels, plan, mask)
        if self._noise:
            pixels = pixels.copy()
            noisy = pixels[..., :3] + self._chooser.normal(0.0, self._noise, pixels[..., :3].shape)
            pixels[..., :3] = np.clip(np.rint(noisy), 0, 255)
        used = time.process_time()
        until = used + self._slower * (used - self._began)
        while time.process_time() < until:
            pass
        return pixels

    def close(self) -> None:
        self._model.close()


class AlteredFamily:
    name = "altered"

    def open(self, artifact: Any, engine: Any, **options: Any) -> Altered:
        model = PLAIN.open(artifact, engine, **options)
        return Altered(model, **artifact.manifest.settings["altered"])


FAMILY = AlteredFamily()
