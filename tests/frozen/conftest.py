"""The built binary, and a Debian that has nothing but its base. Both are made once, where they aren't given."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def dist() -> Path:
    """What `make binary` made: the folder that NANOEDGE_DIST names, or a build of now."""
    if given := os.environ.get("NANOEDGE_DIST"):
        return Path(given).resolve()
    subprocess.run(["make", "binary"], cwd=ROOT, check=True, timeout=590)
    return ROOT / "dist"


@pytest.fixture(scope="session")
def folder(dist: Path) -> Path:
    """The folder build."""
    (found,) = [path for path in dist.glob("nanoedge-*") if path.is_dir()]
    return found


@pytest.fixture(scope="session")
def one_file(dist: Path) -> Path:
    """The one-file build."""
    return dist / "nanoedge"


@pytest.fixture(scope="session")
def photo() -> bytes:
    stream = BytesIO()
    Image.fromarray(np.asarray(data.astronaut())).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a Debian 12 with its base packages only."""
    if os.geteuid() != 0:
        pytest.skip("only root makes a Debian to change into")
    assert shutil.which("debootstrap"), "debootstrap is not installed (Debian: apt install debootstrap)"
    root = tmp_path_factory.mktemp("debian")
    command = ["debootstrap", "--variant=minbase", "bookworm", str(root)]
    subprocess.run(command, check=True, capture_output=True, timeout=590)
    return root
