"""Checkpoints of the published models' true shapes with random weights, written as shards of bfloat16.

Nothing can be downloaded where this runs; speed and memory don't depend on the values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

SHARD_BYTES: Final = 5_000_000_000
_POOL: Final = 1 << 24


def write_weights(shapes: Mapping[str, tuple[int, ...]], folder: Path, stem: str, seed: int = 0) -> int:
    """Write tensors of these shapes as `stem-00001-of-N.safetensors` with an index; returns the number of values.

    Vectors are about 1 or 0 by their name, matrices normally distributed with deviation 0.02.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pool = _pool(seed)
    shards = list(_shards(shapes))
    names = {}
    for place, shard in enumerate(shards, 1):
        file = f"{stem}-{place:05d}-of-{len(shards):05d}.safetensors"
        _write_shard({name: shapes[name] for name in shard}, folder / file, pool)
        names.update(dict.fromkeys(shard, file))
    total = sum(math.prod(shape) for shape in shapes.values())
    index = {"metadata": {"total_size": 2 * total}, "weight_map": names}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    return total


def _pool(seed: int) -> np.ndarray:
    """Return bfloat16 bits of normally distributed numbers, of which all matrices are cut."""
    values = np.random.default_rng(seed).standard_normal(_POOL, np.float32) * np.float32(0.02)
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def _shards(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[list[str]]:
    shard: list[str] = []
    size = 0
    for name, shape in shapes.items():
        size_here = 2 * math.prod(shape)
        if shard and size + size_here > SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += size_here
    yield shard


def _write_shard(shapes: Mapping[str, tuple[int, ...]], path: Path, pool: np.ndarray) -> None:
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for place, (name, shape) in enumerate(shapes.items()):
            for piece in _values(name, shape, pool, 7919 * place):
                file.write(piece.tobytes())


def _values(name: str, shape: tuple[int, ...], pool: np.ndarray, start: int) -> Iterator[np.ndarray]:
    left = math.prod(shape)
    if len(shape) < 2:
        one = 0 if name.endswith("bias") else 0x3F80  # 1.0
        yield np.full(left, one, np.uint16)
        return
    while left:
        begin = start % (_POOL // 2)
        piece = pool[begin : begin + min(left, _POOL // 2)]
        yield piece
        left -= len(piece)
        start += len(piece) + 1
