"""Trains nano-banana: its four networks, two at a time, then writes one checkpoint of all.

    python -m converters.nano_banana.train --data FOLDER [--resume]

About three hours on two cores: every network trains in its own process, on one core, and can be resumed. FOLDER has
photographs and masks as docs/nano-banana.md describes. `--merge-only` puts finished trainings together.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors.torch import load_file, save_file

CHECKPOINT: Final = Path(__file__).with_name("checkpoint.safetensors")
AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True)
class Network:
    """One training: `train_<name>`, its minutes, how its tensors are named in the checkpoint, and whether it needs
    photographs."""

    name: str
    prefix: str
    minutes: float
    needs_data: bool = True


NETWORKS: Final = (
    Network("restoration", "restore", 100.0),
    Network("vision", "vision", 100.0),
    Network("text", "text", 80.0, needs_data=False),
    Network("correction", "correction", 10.0),
)
"""The longest first, so that two at a time end together."""


def merge(runs: Path, destination: Path = CHECKPOINT) -> None:
    """Write one checkpoint from `runs/<name>/<name>.safetensors`, atomically; tensors get the network's prefix."""
    tensors = {
        f"{network.prefix}.{name}": tensor.contiguous()
        for network in NETWORKS
        for name, tensor in load_file(runs / network.name / f"{network.name}.safetensors").items()
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
    for network in NETWORKS:
        parser.add_argument(f"--{network.name}-minutes", type=float, default=network.minutes)
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
        run_all([_command(network, options) for network in NETWORKS])
    merge(options.out)


def _command(network: Network, options: argparse.Namespace) -> list[str]:
    """Return `[name, *options]` of one training."""
    minutes = getattr(options, f"{network.name}_minutes")
    common = ["--seed", str(options.seed), "--device", options.device, *["--resume"] * options.resume]
    data = ["--data", str(options.data)] if network.needs_data else []
    return [network.name, *common, "--minutes", str(minutes), *data, "--out", str(options.out / network.name)]


def run_all(parts: Sequence[Sequence[str]], at_once: int = AT_ONCE) -> None:
    """Run `train_<name> OPTIONS` for each [name, *options], so many at a time; when one fails, all are stopped."""
    waiting, running = list(parts), list[subprocess.Popen[bytes]]()
    failed = False
    try:
        while (waiting or running) and not failed:
            while waiting and len(running) < at_once:
                name, *options = waiting.pop(0)
                command = [sys.executable, "-m", f"converters.nano_banana.train_{name}", *options]
                running.append(subprocess.Popen(command))
            time.sleep(1.0)
            failed = any(process.poll() for process in running)
            running = [process for process in running if process.poll() is None]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
    if failed:
        raise SystemExit("a training failed; its message stands above. --resume goes on where they were")


if __name__ == "__main__":
    main()
