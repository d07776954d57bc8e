"""Trains nano-banana: the text and the vision network side by side, then writes one checkpoint of both.

    python -m converters.nano_banana.train --data FOLDER [--resume]

About 80 minutes on two cores: each network trains in its own process, on one core, and can be resumed. FOLDER has
photographs and masks as docs/nano-banana.md describes. `--merge-only` puts two finished trainings together.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
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
    parser.add_argument("--text-minutes", type=float, default=70.0)
    parser.add_argument("--vision-minutes", type=float, default=75.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoints")
    parser.add_argument("--merge-only", action="store_true", help="don't train, only write the checkpoint")
    options = parser.parse_args()
    if not options.merge_only:
        if options.data is None:
            parser.error("--data is needed for training: a folder with photos/ and seg/")
        if missing := [name for name in ("photos", "seg") if not (options.data / name).is_dir()]:
            parser.error(f"{options.data} has no folder {' and '.join(missing)}; docs/nano-banana.md says more")
        common = ["--seed", str(options.seed), "--device", options.device, *["--resume"] * options.resume]
        text = ["text", *common, "--minutes", str(options.text_minutes)]
        vision = ["vision", *common, "--minutes", str(options.vision_minutes), "--data", str(options.data)]
        run_together([[*part, "--out", str(options.out / part[0])] for part in (text, vision)])
    merge(options.out)


def run_together(parts: Sequence[Sequence[str]]) -> None:
    """Run `train_<name> OPTIONS` for each [name, *options]; when one fails, the others are stopped."""
    processes = [
        subprocess.Popen([sys.executable, "-m", f"converters.nano_banana.train_{name}", *options])
        for name, *options in parts
    ]
    try:
        while any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):
                break
            time.sleep(1.0)
    finally:
        for process in processes:
            process.terminate()
    if any([process.wait() for process in processes]):
        raise SystemExit("a training failed; its message stands above. --resume goes on where both were")


if __name__ == "__main__":
    main()
