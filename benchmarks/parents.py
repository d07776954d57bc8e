"""What do fewer bits cost in restoration? PSNR to the undamaged photographs, artifact by artifact.

    python -m benchmarks.parents FLOAT_ARTIFACT SMALL_ARTIFACT ...

Photographs that come with scikit-image, damaged as in benchmarks.restoration. Everything else that an edit computes is
float in every recipe, or decides what to do, which the manifest's figures measure.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.restoration import mean, of_artifact
from benchmarks.table import markdown
from converters.calibration import bundled_photographs
from converters.nano_banana.restoration_pairs import CONDITIONS, Apply, Pair, middle, restored

SIDE = 384


def rows(applies: list[Apply]) -> list[list[str]]:
    """Return a line for each kind of damage: PSNR of each artifact, and how much the last ones lose to the first."""
    photos = [middle(photo, SIDE) for photo in bundled_photographs().comparison[::3]]
    found = []
    for name, damage in CONDITIONS.items():
        pairs = [damage(photo, seed) for seed, photo in enumerate(photos)]

        def after(apply: Apply, pairs: list[Pair] = pairs, luma: bool = name.startswith("JPEG")) -> float:
            return mean(lambda pair: restored(apply, pair), pairs, luma)

        scores = [after(apply) for apply in applies]
        losses = [f"{scores[0] - score:+.2f}" for score in scores[1:]]
        found.append([name, *(f"{score:.2f}" for score in scores), *losses])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("artifacts", nargs="+", type=Path)
    paths = parser.parse_args().artifacts
    lines = rows([of_artifact(path) for path in paths])
    names = [path.name for path in paths]
    print(markdown(["damage", *(f"{name} dB" for name in names), *(f"{name} loses" for name in names[1:])], lines))
    worst = max(float(cell) for line in lines for cell in line[1 + len(names) :])
    print(f"\nLargest loss {worst:.2f} dB; mean of all {np.mean([float(line[1]) for line in lines]):.2f} dB in float.")


if __name__ == "__main__":
    main()
