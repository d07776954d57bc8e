"""Trains nano-banana: the text network, then the vision network, then one checkpoint of both.

    python -m converters.nano_banana.train --data FOLDER [--resume]

About two hours on two cores. Each network trains in its own process and can be resumed; FOLDER has photographs and
masks as docs/nano-banana.md describes. `--merge-only` puts two finished trainings together.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

CHECKPOINT = Path(__file__).with_name("checkpoint.safetensors")


def merge(runs: Path, destination: Path = CHECKPOINT) -> None:
    """Write one checkpoint from `runs/text` and `runs/vision`, atomically; tensors are named `text.*`, `vision.*`."""
    tensors = {
        f"{part}.{name}": tensor.contiguous()
        for part in ("text", "vision")
        for name, tensor in load_file(runs / part / f"{part}.safetensors").items()
    }
    partial = destination.with_suffix(".partial")
    save_file(tensors, partial)
    partial.chmod(0o644)
    partial.replace(destination)


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with photos/ and seg/")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for weights, logs and checkpoints")
    parser.add_argument("--text-minutes", type=float, default=30.0)
    parser.add_argument("--vision-minutes", type=float, default=75.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoints")
    parser.add_argument("--merge-only", action="store_true", help="don't train, only write the checkpoint")
    options = parser.parse_args()
    if not options.merge_only:
        if options.data is None:
            parser.error("--data is needed for training: a folder with photos/ and seg/")
        common = ["--seed", str(options.seed), "--device", options.device, *["--resume"] * options.resume]
        for part, minutes, extra in (
            ("text", options.text_minutes, []),
            ("vision", options.vision_minutes, ["--data", str(options.data)]),
        ):
            command = [sys.executable, "-m", f"converters.nano_banana.train_{part}", *common, *extra]
            subprocess.run([*command, "--out", str(options.out / part), "--minutes", str(minutes)], check=True)
    merge(options.out)


if __name__ == "__main__":
    main()
