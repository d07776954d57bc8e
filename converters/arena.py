"""How much memory ONNX Runtime's arena touches for given tensors: more than is alive, as pieces don't fit into gaps.

A copy of the rules of its BFCArena with default settings (https://github.com/microsoft/onnxruntime,
`onnxruntime/core/framework/bfc_arena.cc`). Autoencoders need up to 1.8 times what is alive, transformers 1.1.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Final

UNIT_BYTES: Final = 256
FIRST_REGION_BYTES: Final = 1 << 20
LARGEST_DOUBLING_BYTES: Final = 1 << 30
MOST_WASTED_BYTES: Final = 128 << 20


@dataclass(slots=True, eq=False)
class Piece:
    """Part of a region, with its neighbours."""

    region: int
    start: int
    size: int
    before: Piece | None = None
    behind: Piece | None = None
    free: bool = True

    @property
    def key(self) -> tuple[int, int, int]:
        """Return what free pieces are sorted by: the smallest that fits is taken."""
        return (self.size, self.region, self.start)


class Arena:
    """Hands out pieces of regions, which double in size, and joins pieces that are given back."""

    def __init__(self) -> None:
        self._next_region_bytes = FIRST_REGION_BYTES
        self._touched: list[int] = []  # up to where every region was ever used
        self._free: dict[tuple[int, int, int], Piece] = {}
        self._keys: list[tuple[int, int, int]] = []

    @property
    def touched_bytes(self) -> int:
        """Return what was ever used, which stays resident until the arena is given up."""
        return sum(self._touched)

    def take(self, size: int) -> Piece:
        """Return a piece for a tensor of `size` bytes."""
        wanted = -(-size // UNIT_BYTES) * UNIT_BYTES
        place = bisect_left(self._keys, (wanted, -1, -1))
        if place == len(self._keys):
            self._extend(wanted)
            place = bisect_left(self._keys, (wanted, -1, -1))
        piece = self._free.pop(self._keys.pop(place))
        piece.free = False
        if piece.size >= 2 * wanted or piece.size - wanted >= MOST_WASTED_BYTES:
            self._split(piece, wanted)
        self._touched[piece.region] = max(self._touched[piece.region], piece.start + size)
        return piece

    def give_back(self, piece: Piece) -> None:
        """Make a piece free, and one with its neighbours that are."""
        piece.free = True
        if piece.behind is not None and piece.behind.free:
            self._forget(piece.behind)
            self._join(piece, piece.behind)
        if piece.before is not None and piece.before.free:
            self._forget(piece.before)
            piece = piece.before
            assert piece.behind is not None
            self._join(piece, piece.behind)
        self._offer(piece)

    def _extend(self, wanted: int) -> None:
        doubled = False
        while self._next_region_bytes < wanted:
            self._next_region_bytes *= 2
            doubled = True
        self._offer(Piece(region=len(self._touched), start=0, size=self._next_region_bytes))
        self._touched.append(0)
        if not doubled and self._next_region_bytes < LARGEST_DOUBLING_BYTES:
            self._next_region_bytes *= 2

    def _split(self, piece: Piece, size: int) -> None:
        rest = Piece(piece.region, piece.start + size, piece.size - size, before=piece, behind=piece.behind)
        if piece.behind is not None:
            piece.behind.before = rest
        piece.size, piece.behind = size, rest
        self._offer(rest)

    def _join(self, first: Piece, second: Piece) -> None:
        first.size += second.size
        first.behind = second.behind
        if second.behind is not None:
            second.behind.before = first

    def _offer(self, piece: Piece) -> None:
        self._free[piece.key] = piece
        insort(self._keys, piece.key)

    def _forget(self, piece: Piece) -> None:
        del self._free[piece.key]
        del self._keys[bisect_left(self._keys, piece.key)]
