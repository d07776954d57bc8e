"""What children cost: the same edits by a server with child processes and by one without, in turns; and memory.

    python -m benchmarks.workers [--rounds 40]
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.node import BACKGROUND_EDIT, Node, started
from benchmarks.table import jpeg, markdown, photographs
from edge_runtime import images
from edge_runtime.child import Spawner
from edge_runtime.decoder import Decoder
from edge_runtime.limits import Limits

SIDES = (512, 1024, 3000)
LARGE_PIXELS = 2000
"""Sides from here on are measured in a tenth of the rounds."""


def latency(rounds: int) -> str:
    """Return the table of milliseconds of an edit through HTTP, and of resident memory."""
    photo = photographs(None)["coffee"]
    encoded = {side: jpeg(photo, side) for side in SIDES}
    seconds: dict[tuple[int, str], list[float]] = defaultdict(list)
    with started() as apart, started(options=("--in-process",)) as alone:
        nodes = {"children": apart, "one process": alone}
        for side in SIDES:
            turns = list(nodes) * (rounds if side < LARGE_PIXELS else max(2, rounds // 10))
            for node in nodes.values():
                node.connection.close()
                node.edit(encoded[side], BACKGROUND_EDIT, "nano-banana")
            random.Random(0).shuffle(turns)
            for name in turns:
                nodes[name].connection.close()  # kept ones are closed while the other server works for long
                seconds[side, name].append(nodes[name].edit(encoded[side], BACKGROUND_EDIT, "nano-banana"))
        memory = {name: _memory(node) for name, node in nodes.items()}
    rows = []
    for (side, name), values in seconds.items():
        p50, p95 = np.percentile(1000 * np.array(values), [50, 95])
        rows.append([side, name, len(values), f"{p50:.0f}", f"{p95:.0f}"])
    told = markdown(["long side px", "server", "edits", "p50 ms", "p95 ms"], rows)
    return told + "\n\n" + markdown(["server", "resident MB after all of them"], list(memory.items()))


def _memory(node: Node) -> str:
    return f"{node.memory_bytes() / 1e6:.0f}"


def decoding(rounds: int) -> str:
    """Return the table of milliseconds of decoding here and in a child, the way of the pixels included."""
    photo = photographs(None)["coffee"]
    spawner = Spawner()
    decoder = Decoder(spawner)
    rows = []
    for side in SIDES:
        data, limits = jpeg(photo, side), Limits()
        here, there = [], []
        for _ in range(rounds if side < LARGE_PIXELS else max(2, rounds // 10)):
            here.append(_seconds(partial(images.decode, data, limits)))
            there.append(_seconds(partial(decoder.decode, data, limits)))
        rows.append([side, *(f"{1000 * np.median(values):.1f}" for values in (here, there))])
    decoder.close()
    spawner.close()
    return markdown(["long side px", "decoded here ms", "in a child ms"], rows)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    print(latency(given.rounds), end="\n\n")
    print(decoding(given.rounds))
