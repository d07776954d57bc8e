"""The network that reads an instruction: UTF-8 bytes to strengths per region and adjustment.

Bytes and hashed byte n-grams are embedded, shortened fourfold by two convolutions and mixed by a small transformer;
each position gives evidence for each cell, a region of an adjustment that has it, and a learned query per cell, one
for `beyond` and one for the colour look at all of it. Cells that the vocabulary doesn't allow are never computed: they
are filled in as zeros at the end.
Plain operations only, no shape depends on a value, and zeros on the right change nothing: it exports to ONNX, LiteRT
and Core ML as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from converters.nano_banana.text_layers import Block, Embedding, QueryBlock, TextConfig
from converters.nano_banana.vocabulary import vocabulary

MAX_BYTES = 512
BINS = 20
"""Strength is read as a distribution over 0.05, 0.10, ... 1.00."""

MASKED = -1e4


@dataclass(frozen=True, slots=True)
class TextLogits:
    """Raw outputs for training: presence (batch, cells, absent/plus/minus), strength (batch, cells, 20),
    beyond (batch,), color (batch, colors)."""

    presence: Tensor
    strength: Tensor
    beyond: Tensor
    color: Tensor

    def float(self) -> TextLogits:
        """Return the same in float32, for the loss after a forward pass in half precision."""
        return TextLogits(self.presence.float(), self.strength.float(), self.beyond.float(), self.color.float())


class TextPlanner(nn.Module):
    """Reads an instruction; see `forward` for the exported contract and `logits` for training."""

    positions: Tensor
    levels: Tensor
    allowed: Tensor
    places: Tensor
    region_of: Tensor
    adjustment_of: Tensor
    beyond_scale: Tensor
    beyond_shift: Tensor

    def __init__(self, config: TextConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TextConfig()
        listed = vocabulary()
        self.regions, self.adjustments = len(listed.regions), len(listed.adjustments)
        width, middle, count = config.width, config.width // 2, len(cells())
        self.embedding = Embedding(config)
        self.shorten = nn.ModuleList((nn.Conv1d(config.embedding, middle, 5, 2, 2), nn.Conv1d(middle, width, 3, 2, 1)))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.region_query = nn.Parameter(torch.randn(self.regions, config.query_width) * 0.5)
        self.adjustment_query = nn.Parameter(torch.randn(self.adjustments, config.query_width) * 0.5)
        self.cell_query = nn.Parameter(torch.randn(count, config.query_width) * 0.1)
        self.extra_query = nn.Parameter(torch.randn(2, config.query_width) * 0.5)
        self.query_blocks = nn.ModuleList(QueryBlock(config) for _ in range(config.query_layers))
        self.query_norm = nn.LayerNorm(config.query_width)
        self.cell_head = nn.Linear(config.query_width, 3 + BINS)
        self.cell_bias = nn.Parameter(torch.tensor([2.0, -1.5, -1.5]).repeat(count, 1))
        self.evidence = nn.Linear(width, count * 2)
        nn.init.constant_(self.evidence.bias, -3.0)
        self.beyond_head = nn.Linear(config.query_width, 1)
        self.color_head = nn.Linear(config.query_width, len(listed.colors))
        # the calibration of `beyond`, measured after training
        self.register_buffer("beyond_scale", torch.ones(1))
        self.register_buffer("beyond_shift", torch.zeros(1))
        self.register_buffer("positions", torch.arange(MAX_BYTES // 4, dtype=torch.float32), persistent=False)
        self.register_buffer("levels", torch.arange(1, BINS + 1) / BINS, persistent=False)
        self.register_buffer("allowed", _allowed_signs(), persistent=False)
        self.register_buffer("places", _places(), persistent=False)
        region_of, adjustment_of = _members()
        self.register_buffer("region_of", region_of, persistent=False)
        self.register_buffer("adjustment_of", adjustment_of, persistent=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Read `tokens`, int32 (batch, bytes), 0 = padding on the right, at most 512 bytes.

        Returns amounts float32 (batch, regions, adjustments), signed, 0 where absent; scores of the same shape, the
        probability of being asked for; beyond float32 (batch,), 0..1; color float32 (batch, colors), adding up to 1.
        """
        logits = self.logits(tokens)
        presence = torch.softmax(logits.presence, dim=-1)
        plus, minus = presence[..., 1], presence[..., 2]
        scores = plus + minus
        strength = (torch.softmax(logits.strength, dim=-1) * self.levels).sum(-1)
        sign = (plus >= minus).to(strength.dtype) * 2 - 1
        amounts = strength * sign * (scores > 0.5).to(strength.dtype)
        beyond = torch.sigmoid(logits.beyond * self.beyond_scale + self.beyond_shift)
        scores = self._spread(scores)
        return said_once(self._spread(amounts), scores), scores, beyond, torch.softmax(logits.color, dim=-1)

    def logits(self, tokens: Tensor) -> TextLogits:
        """Return the raw outputs for int32 (batch, bytes)."""
        memory, hidden = self._read(tokens)
        regions = self.region_query.index_select(0, self.region_of)
        adjustments = self.adjustment_query.index_select(0, self.adjustment_of)
        x = torch.cat((regions + adjustments + self.cell_query, self.extra_query)).unsqueeze(0)
        for block in self.query_blocks:
            x = block(x, memory, hidden)
        x = self.query_norm(x)
        count = len(self.cell_query)
        heads = self.cell_head(x[:, :count])
        evidence = pooled(self.evidence(memory), hidden).reshape(-1, count, 2)
        presence = heads[..., :3] + functional.pad(evidence, (1, 0)) + self.cell_bias + self.allowed
        beyond = self.beyond_head(x[:, count]).squeeze(-1)
        return TextLogits(presence, heads[..., 3:], beyond, self.color_head(x[:, count + 1]))

    def _spread(self, found: Tensor) -> Tensor:
        """Return (batch, regions, adjustments) of float32 (batch, cells), 0 in the cells that aren't allowed."""
        padded = functional.pad(found, (0, 1))
        return padded.index_select(1, self.places).reshape(-1, self.regions, self.adjustments)

    def _read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the text's features (batch, positions, width) and the bias that hides padding."""
        mask = (tokens > 0).to(torch.float32).unsqueeze(1)
        x = self.embedding(tokens).transpose(1, 2) * mask
        for convolution in self.shorten:
            mask = mask[:, :, ::2]
            x = torch.relu(convolution(x)) * mask
        x, mask = x.transpose(1, 2), mask.transpose(1, 2)
        positions = self.positions[: x.shape[1]]
        distance = positions.unsqueeze(1) - positions.unsqueeze(0)
        hidden = ((1 - mask) * MASKED).transpose(1, 2).unsqueeze(1)
        for block in self.blocks:
            x = block(x, mask, distance, hidden)
        return self.norm(x), hidden


def said_once(amounts: Tensor, scores: Tensor) -> Tensor:
    """Drop one of two edits that are the same but that one is for a larger part of the photo: the less sure of them.

    Nobody asks for both, but a request that names its part late, or by a word never seen, leaves doubt. Both float32
    (batch, regions, adjustments); returns the amounts.
    """
    rows = list(amounts.unbind(1))
    for larger, part in _within():
        same = (rows[larger] * rows[part] > 0).to(amounts.dtype)
        surer = (scores[:, part] > scores[:, larger]).to(amounts.dtype)
        rows[larger] = rows[larger] * (1 - same * surer)
        rows[part] = rows[part] * (1 - same * (1 - surer))
    return torch.stack(rows, 1)


def pooled(evidence: Tensor, hidden: Tensor) -> Tensor:
    """Return the smooth maximum (log-sum-exp) over the positions of float32 (batch, positions, channels)."""
    shown = evidence + hidden.flatten(1).unsqueeze(2)
    highest = shown.amax(1, keepdim=True)
    return (highest + torch.log(torch.exp(shown - highest).sum(1, keepdim=True))).squeeze(1)


@cache
def cells() -> dict[tuple[str, str], int]:
    """Return (region, adjustment) -> position among the cells that the vocabulary allows."""
    listed = vocabulary()
    allowed = [(r, a.name) for r in listed.regions for a in listed.adjustments if r in a.regions]
    return {cell: i for i, cell in enumerate(allowed)}


@cache
def _within() -> tuple[tuple[int, int], ...]:
    """Return (larger region, a part of it) as positions in the vocabulary."""
    regions = vocabulary().regions
    whole = regions.index("all")
    parts = [(whole, part) for part in range(len(regions)) if part != whole]
    return ((regions.index("subject"), regions.index("skin")), *parts)


def _allowed_signs() -> Tensor:
    """Return 0 or MASKED (cells, 3) for the directions that the vocabulary allows."""
    bias = torch.zeros(len(cells()), 3)
    for (_, name), i in cells().items():
        if vocabulary().adjustment(name).low >= 0:
            bias[i, 2] = MASKED
    return bias


def _members() -> tuple[Tensor, Tensor]:
    """Return int64 (cells,): the position of each cell's region, and that of its adjustment."""
    listed = vocabulary()
    members = [(listed.regions.index(region), listed.index(name)) for region, name in cells()]
    region_of, adjustment_of = torch.tensor(members).unbind(1)
    return region_of, adjustment_of


def _places() -> Tensor:
    """Return int64 (regions * adjustments,): where each stands among the cells, one past them where not allowed."""
    listed, known = vocabulary(), cells()
    return torch.tensor([known.get((r, a.name), len(known)) for r in listed.regions for a in listed.adjustments])


def load(path: Path) -> TextPlanner:
    """Return the trained network from a safetensors file, in evaluation mode."""
    planner = TextPlanner()
    planner.load_state_dict(load_file(path))
    return planner.eval()


def encode(text: str) -> list[int]:
    """Return the bytes the network reads: UTF-8, cut to the longest allowed length."""
    return list(text.encode("utf-8")[:MAX_BYTES])
