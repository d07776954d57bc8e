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

from converters.nano_banana.vocabulary import vocabulary

MAX_BYTES = 512
BINS = 20
"""Strength is read as a distribution over 0.05, 0.10, ... 1.00."""

HASH_SIZE, HASH_FACTOR = 8191, 263
"""A polynomial rolling hash modulo a prime; the product stays below 2^31."""

MASKED = -1e4


@dataclass(frozen=True, slots=True)
class TextConfig:
    """Sizes of the network. `ngrams` are the lengths of the hashed byte sequences."""

    embedding: int = 48
    width: int = 128
    layers: int = 3
    heads: int = 4
    query_width: int = 64
    query_layers: int = 1
    ngrams: tuple[int, ...] = (3, 4, 6)
    dropout: float = 0.1


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


class Embedding(nn.Module):
    """Bytes, folded to lower case, and the n-grams that end at each of them -> float32 (batch, bytes, channels)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.ngrams, self.dropout = config.ngrams, config.dropout
        self.bytes = nn.Embedding(256, config.embedding)
        self.hashed = nn.ModuleList(nn.Embedding(HASH_SIZE, config.embedding) for _ in config.ngrams)
        for table in (self.bytes, *self.hashed):
            nn.init.normal_(table.weight, std=0.05)
        self.norm = nn.LayerNorm(config.embedding)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the normalised sum of the embeddings of `tokens`, int32 (batch, bytes)."""
        mixed: Tensor = self.bytes(fold(tokens))
        for table, code in zip(self.hashed, self.codes(tokens), strict=True):
            found = table(code)
            if self.training:
                found = found * (torch.rand(*code.shape, 1, device=code.device) >= self.dropout)
            mixed = mixed + found
        normed: Tensor = self.norm(mixed)
        return normed

    def codes(self, tokens: Tensor) -> list[Tensor]:
        """Return, for each n-gram length, int32 (batch, bytes): the hash of the n-gram that ends at each byte."""
        folded = fold(tokens)
        codes, code, length = [], folded, 1
        for n in self.ngrams:
            while length < n:
                before = functional.pad(code, (1, 0))[:, :-1]
                code, length = (before * HASH_FACTOR + folded) % HASH_SIZE, length + 1
            codes.append(code)
        return codes


def fold(tokens: Tensor) -> Tensor:
    """Return bytes in lower case: ASCII letters, and the second bytes of umlauts (0xC3 0x84 to 0xC3 0xA4)."""
    latin = ((tokens >= 65) & (tokens <= 90)).to(tokens.dtype)
    second = ((tokens >= 128) & (tokens <= 158)).to(tokens.dtype)
    return tokens + 32 * (latin + second)


class Attention(nn.Module):
    """Multi-head attention, written out."""

    def __init__(self, width: int, memory_width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(memory_width, width)
        self.value = nn.Linear(memory_width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, bias: Tensor) -> Tensor:
        """Return (batch, targets, width); `bias` is added to the scores (batch, heads, targets, sources)."""
        query = self._split(self.query(x))
        key, value = self._split(self.key(memory)), self._split(self.value(memory))
        scores = torch.matmul(query, key.transpose(2, 3)) * self.size**-0.5 + bias
        mixed = torch.matmul(torch.softmax(scores, dim=-1), value).transpose(1, 2)
        result: Tensor = self.out(mixed.flatten(2))
        return result

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, self.heads, self.size).transpose(1, 2)


def feed_forward(width: int) -> nn.Sequential:
    """Return a two-layer perceptron."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))


class Block(nn.Module):
    """Convolution over neighbours, attention that fades with distance, perceptron; each added to its input."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width = config.width
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.neighbours = nn.Conv1d(width, width, 3, padding=1)
        self.attention = Attention(width, width, config.heads)
        self.perceptron = feed_forward(width)
        fading = torch.tensor([-4.0, -1.5, -1.5, 0.5])[: config.heads]
        self.fading = nn.Parameter(torch.stack((fading, fading.roll(1))))

    def forward(self, x: Tensor, mask: Tensor, distance: Tensor, hidden: Tensor) -> Tensor:
        """Return (batch, positions, width); `distance` (positions, positions) counts to the left as positive."""
        normed = (self.norms[0](x) * mask).transpose(1, 2)
        x = x + torch.relu(self.neighbours(normed)).transpose(1, 2) * mask
        left, right = functional.softplus(self.fading).unsqueeze(-1).unsqueeze(-1)
        bias = hidden - torch.relu(distance) * left - torch.relu(-distance) * right
        normed = self.norms[1](x)
        x = x + self.attention(normed, normed, bias)
        result: Tensor = x + self.perceptron(self.norms[2](x))
        return result


class QueryBlock(nn.Module):
    """Learned queries read from the text, then think."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width = config.query_width
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = Attention(width, config.width, config.heads)
        self.perceptron = feed_forward(width)

    def forward(self, x: Tensor, memory: Tensor, hidden: Tensor) -> Tensor:
        """Return (batch, queries, query_width)."""
        x = x + self.attention(self.norms[0](x), memory, hidden)
        result: Tensor = x + self.perceptron(self.norms[1](x))
        return result


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
