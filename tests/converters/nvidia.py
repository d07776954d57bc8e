"""NVIDIA's own parser and builder, in an environment with TensorRT for RTX, whose builder needs no GPU.

It builds what has no integers. Of the rest it reads every graph; to build them it asks for a GPU, and 8-bit
convolutions, which TensorRT has on Jetson boards, it has not.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PYTHONS = ("python3.11", "python3.10", "python3.12", "python3.13")
PACKAGES = ("tensorrt-rtx-cu12-libs==1.4.0.76", "tensorrt-rtx-cu12-bindings==1.4.0.76", "numpy<3")
PROGRAM = """
import json
import sys
from pathlib import Path
import tensorrt_rtx_bindings as library
from edge_runtime.blocks import Block
from edge_runtime.engines.tensorrt import build, parsed

folder, built = Path(sys.argv[1]), sys.argv[2] == "built"
for entry in json.loads((folder / "blocks.json").read_text())["blocks"]:
    block = Block.from_json(entry, folder.name)
    graph = folder / block.file
    print(block.file, len(build(library, graph, block)) if built else parsed(library, graph)[1].num_layers)
"""


def new_environment(folder: Path) -> Path:
    """Return the Python of a new environment."""
    base = next((found for name in PYTHONS if (found := shutil.which(name))), None)
    assert base, f"TensorRT for RTX has wheels for {', '.join(PYTHONS)}, and none of them is here"
    subprocess.run([base, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *PACKAGES]
    subprocess.run(command, check=True, capture_output=True)
    return python


def blocks_read(python: Path, folder: Path, *, built: bool) -> int:
    """Let NVIDIA's parser read, and the builder build, all blocks of a component; return how many there are."""
    command = [python, "-c", PROGRAM, folder, "built" if built else "parsed"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    sizes = [int(line.split()[1]) for line in result.stdout.splitlines()]
    assert all(sizes)
    return len(sizes)
