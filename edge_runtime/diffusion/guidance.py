"""Classifier-free guidance (https://arxiv.org/abs/2207.12598): away from what the model would do without the words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def away(edited: Floats, blind: Floats, strength: float) -> Floats:
    """Return the prediction for the words, moved away from the one without them; 1 leaves it as it is."""
    guided: Floats = blind + np.float32(strength) * (edited - blind)
    return guided


def away_from_both(edited: Floats, same: Floats, blind: Floats, words: float, photo: float) -> Floats:
    """Guide by two strengths (https://arxiv.org/abs/2211.09800): `same` has the photo only, `blind` neither."""
    guided: Floats = blind + np.float32(words) * (edited - same) + np.float32(photo) * (same - blind)
    return guided


def rescaled(guided: Floats, edited: Floats) -> Floats:
    """Return predictions (1, tokens, channels), every token as long as it is in `edited`."""
    lengths = [np.linalg.norm(tokens, axis=2, keepdims=True) for tokens in (edited, guided)]
    scaled: Floats = guided * (lengths[0] / np.maximum(lengths[1], np.finfo(np.float32).tiny))
    return scaled
