"""The wrk script edits for real, and says how many edits were refused."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from benchmarks.table import jpeg
from tests.server.started import ROOT, started_server

pytestmark = pytest.mark.slow


def under_wrk(url: str, connections: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    wrk = shutil.which("wrk")
    assert wrk is not None, "wrk is not installed (Debian: apt install wrk)"
    options = ["-t1", f"-c{connections}", "-d2s", "-s", str(ROOT / "benchmarks" / "edit.lua")]
    return subprocess.run([wrk, *options, url, "--", *arguments], capture_output=True, text=True, timeout=60)


def test_wrk_edits_a_photo_and_counts_refusals_apart(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg(Image.fromarray(data.astronaut()), 256))
    with started_server() as server:
        few, many = (under_wrk(server.url, connections, str(photo)) for connections in (1, 60))
        missing = under_wrk(server.url, 1, str(tmp_path / "gone.jpg"))
    counted = [re.search(r"(\d+) edits done, .*; (\d+) refused", each.stdout) for each in (few, many)]
    assert counted[0] is not None and int(counted[0][1]) > 3 and int(counted[0][2]) == 0, few.stdout
    assert counted[1] is not None and int(counted[1][1]) > 0 and int(counted[1][2]) > 10, many.stdout
    assert missing.returncode == 2 and "no photo: got" in missing.stderr
