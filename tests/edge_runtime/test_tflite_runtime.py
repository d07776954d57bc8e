"""The LiteRT engine on tflite-runtime 2.14, which some devices have, in an environment of its own.

Its wheels end at Python 3.11, and it needs NumPy below 2.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_tflite import write_scale

PYTHONS = ("python3.11", "python3.10")
ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from edge_runtime.engine import engine_for
from edge_runtime.manifest import Component
from edge_runtime.tensors import TensorSpec

shape = (1, "height", "width", 2)
photo, scaled = (TensorSpec(name=name, dtype="float32", shape=shape) for name in ("photo", "scaled"))
component = Component(name="scale", file="scale.tflite", precision=sys.argv[2], inputs=(photo,), outputs=(scaled,))
with engine_for("tflite").open(Path(sys.argv[1]), component, threads=2) as session:
    result = session.run({"photo": np.ones((1, 3, 4, 2), np.float32)})["scaled"]
assert "tflite_runtime" in sys.modules and "ai_edge_litert" not in sys.modules
print(np.__version__, result.shape, result.sum())
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """Python of a new environment with tflite-runtime, and what edge_runtime's engines import."""
    base = next((found for name in PYTHONS if (found := shutil.which(name))), None)
    assert base, f"tflite-runtime has wheels for {', '.join(PYTHONS)}, and none of them is here"
    folder = tmp_path_factory.mktemp("tflite-runtime")
    subprocess.run([base, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install(python, "tflite-runtime==2.14.*", "numpy<2")
    return python


def install(python: Path, *packages: str) -> None:
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, capture_output=True)


def run(python: Path, file: Path, precision: str = "fp32") -> subprocess.CompletedProcess[str]:
    command = [python, "-c", PROGRAM, file, precision]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_it_runs_with_an_older_numpy_and_says_what_else_it_needs(python, tmp_path):
    file = write_scale(tmp_path / "scale.tflite")
    result = run(python, file)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[0].startswith("1.") and result.stdout.split()[-1] == "72.0"

    result = run(python, file, "int4-int8")
    assert result.returncode != 0 and "no kernels for 4-bit weights" in result.stderr

    install(python, "numpy>=2")
    result = run(python, file)
    assert result.returncode != 0
    assert "needs NumPy below 2" in result.stderr and "EngineError" in result.stderr
