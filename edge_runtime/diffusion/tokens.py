"""Tokenisation by the checkpoint's own tokenizer.json."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Model

from edge_runtime.errors import ArtifactError, InstructionError

MASKED = -1e9
"""What an additive attention bias holds where a token must not look."""


class Tokenizer:
    """Turns text into token ids."""

    def __init__(self, path: Path) -> None:
        try:
            self._model = Model.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # noqa: BLE001 - the library raises plain Exception for any fault
            raise ArtifactError("the tokenizer can't be read", got=error, hint="convert the model again") from error
        self._model.no_truncation()
        self._model.no_padding()

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text; the tokenizer's own special tokens are added."""
        return list(self._model.encode(text).ids)

    def padded(self, text: str, tokens: int, padding: int) -> NDArray[np.int64]:
        """Return ids filled up to a length, int64 (1, tokens); raises InstructionError for a longer text."""
        ids = within(self.ids(text), tokens)
        return np.array([ids + [padding] * (tokens - len(ids))], np.int64)


def within(ids: list[int], most: int, spare: int = 0, param: str = "prompt") -> list[int]:
    """Return the ids; raises InstructionError for more than `most`. `spare` of them are not the user's.

    `param` is the option that they are from, `prompt` or `negative_prompt`.
    """
    if len(ids) > most:
        what = "instruction" if param == "prompt" else param.replace("_", " ")
        raise InstructionError(
            f"the {what} is too long for this model", got=f"{len(ids) - spare} tokens",
            allowed=f"at most {most - spare} tokens, about {(most - spare) * 3 // 4} words",
            hint="say only what to change" if param == "prompt" else "leave some of it out", param=param,
        )
    return ids


def causal_bias(tokens: int, visible: int | None = None) -> NDArray[np.float32]:
    """Return float32 (1, 1, tokens, tokens): 0 where a token may look, which is back, at the first `visible` tokens."""
    place = np.arange(tokens)
    hidden = place[None, :] > np.minimum(place, (tokens if visible is None else visible) - 1)[:, None]
    return np.where(hidden, MASKED, 0).astype(np.float32)[None, None]
