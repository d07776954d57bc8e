"""The layers of the text network: embeddings of hashed byte n-grams, attention, blocks. What they are for: see text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

HASH_SIZE, HASH_FACTOR = 8191, 263
"""A polynomial rolling hash modulo a prime; the product stays below 2^31."""


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
