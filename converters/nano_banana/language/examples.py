"""Batches for training and measuring: instructions drawn from the lexicons, as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from random import Random

import numpy as np
import torch
from torch import Tensor

from converters.nano_banana.language.grammar import COUNT_SHARES, SIMPLE_SHARES, Grammar, Instruction
from converters.nano_banana.language.lexicon import Part, languages, load
from converters.nano_banana.language.noise import noisy
from converters.nano_banana.language.written import Written
from converters.nano_banana.text import cells, encode
from converters.nano_banana.vocabulary import vocabulary

IGNORED = -1
"""The colour class of an instruction without a colour."""


WRITTEN_SHARE, FILLED = 0.5, 0.06
"""How often an instruction is a written request, and how often small talk is put before or after one."""


class Stage(Enum):
    """What is learned in turn: mostly single wishes, then all lengths, then most of the held-out phrases too."""

    SIMPLE = "simple"
    COMPOUND = "compound"
    RELEASED = "released"

    @property
    def part(self) -> Part:
        """Return the phrases to learn from."""
        return Part.RELEASED if self is Stage.RELEASED else Part.LEARN

    @property
    def shares(self) -> tuple[float, ...]:
        """Return how often an instruction has 1, 2, 3, 4 or 5 edits."""
        return SIMPLE_SHARES if self is Stage.SIMPLE else COUNT_SHARES


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors of a batch: tokens int32 (batch, bytes), presence int64 (batch, cells) as 0 absent, 1 plus, 2 minus,
    strength float32 (batch, cells) 0..1, beyond float32 (batch,), color int64 (batch,) or IGNORED."""

    tokens: Tensor
    presence: Tensor
    strength: Tensor
    beyond: Tensor
    color: Tensor


def collate(instructions: list[Instruction], device: str = "cpu") -> Batch:
    """Return the tensors of some instructions. A KeyError means an edit of a region that its adjustment hasn't."""
    listed, known = vocabulary(), cells()
    shape = (len(instructions), len(known))
    encoded = [encode(instruction.text) for instruction in instructions]
    tokens = np.zeros((shape[0], -(-max(map(len, encoded)) // 16) * 16), np.int32)
    presence, strength = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    color = np.full(shape[0], IGNORED, np.int64)
    for i, (codes, instruction) in enumerate(zip(encoded, instructions, strict=True)):
        tokens[i, : len(codes)] = codes
        for edit in instruction.edits:
            # a label that the network can't give would make the loss explode
            assert listed.adjustment(edit.name).low <= edit.amount <= listed.adjustment(edit.name).high, edit
            cell = (i, known[edit.region, edit.name])
            presence[cell], strength[cell] = (1 if edit.amount > 0 else 2), abs(edit.amount)
            if edit.color is not None:
                color[i] = list(listed.colors).index(edit.color)
    beyond = np.array([instruction.beyond for instruction in instructions], np.float32)
    return Batch(*(torch.from_numpy(a).to(device) for a in (tokens, presence, strength, beyond, color)))


class Speaker:
    """Draws instructions of one language: from the grammar, and `WRITTEN_SHARE` of them as people wrote them."""

    def __init__(self, language: str, part: Part, shares: Sequence[float], seed: int) -> None:
        self.lexicon = load(language, part)
        self.grammar = Grammar(self.lexicon, seed, shares)
        self.random = Random(seed)
        self.written = Written(language, part, self.random)

    def draw(self) -> Instruction:
        """Return one instruction, typed in more or less of a hurry."""
        if self.random.random() >= WRITTEN_SHARE:
            return self.grammar.draw()
        drawn = self.written.draw()
        text = self.grammar.with_filler(drawn.text) if self.random.random() < FILLED else drawn.text
        return replace(drawn, text=noisy(text, self.random, self.lexicon.spelling))


def batches(part: Part, shares: Sequence[float], seed: int, size: int, device: str) -> Iterator[Batch]:
    """Yield batches of all languages in equal shares, texts of similar length together, without end."""
    speakers = [Speaker(language, part, shares, seed + i) for i, language in enumerate(languages())]
    order = np.random.default_rng(seed)
    while True:
        drawn = [speakers[i % len(speakers)].draw() for i in range(8 * size)]
        drawn.sort(key=lambda instruction: len(instruction.text))
        for i in order.permutation(8):
            yield collate(drawn[i * size : (i + 1) * size], device)
