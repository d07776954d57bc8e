"""`nanoedge install` into a system's files, and what systemd says of the unit."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.installation import unit
from tests.program import program

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="accounts are made by root")
systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
UNIT = "etc/systemd/system/nanoedge.service"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Path]:
    """The least that a system has before something is installed: its accounts."""
    (tmp_path / "etc").mkdir()
    accounts = {"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n", "shadow": "", "gshadow": ""}
    for name, text in accounts.items():
        (tmp_path / "etc" / name).write_text(text)
    yield tmp_path


def nanoedge(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*program(), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@root_only
def test_install_and_uninstall(system: Path) -> None:
    done = nanoedge("install", "--root", system, "--", "--port", "9000", "--model", "/srv/my models/50%")
    assert done.returncode == 0, done.stderr
    text = (system / UNIT).read_text()
    (started,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert started.endswith('/nanoedge serve --port 9000 --model "/srv/my models/50%%"')
    assert (system / "etc/systemd/system/multi-user.target.wants/nanoedge.service").resolve() == system / UNIT
    assert os.readlink(system / "usr/local/bin/nanoedge") == shlex.split(started)[0]
    assert "nanoedge:" in (system / "etc/passwd").read_text()
    assert stat.S_IMODE((system / "etc/nanoedge").stat().st_mode) == 0o750
    assert nanoedge("install", "--root", system).returncode == 0  # again, with other options
    assert "--port" not in (system / UNIT).read_text()

    (system / "etc/nanoedge/environment").write_text("CENTRAL_KEY=secret\n")
    assert nanoedge("uninstall", "--root", system).returncode == 0
    assert (system / "etc/nanoedge/environment").exists() and not (system / UNIT).exists()
    assert nanoedge("uninstall", "--root", system, "--purge").returncode == 0
    assert not (system / "etc/nanoedge").exists() and "nanoedge" not in (system / "etc/passwd").read_text()
    left = {path.relative_to(system).as_posix() for path in system.rglob("*") if not path.is_dir()}
    assert {name for name in left if not name.startswith("etc/")} == set()


@root_only
def test_a_full_disk_leaves_one_clear_line(system: Path) -> None:
    full = system / "etc" / "systemd"
    full.mkdir()
    script = f'mount -t tmpfs -o size=4k,nr_inodes=1 tmpfs {full}; exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", *program(), "install", "--root", str(system)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "No space left" in done.stderr and done.stderr.count("\n") == 1


@systemd
def test_systemd_accepts_the_unit_and_calls_it_safe(tmp_path: Path) -> None:
    file = tmp_path / "nanoedge.service"
    file.write_text(unit(["/bin/true", "serve", "--port", "9000"]))
    verified = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, timeout=60)
    complaints = [line for line in verified.stderr.splitlines() if "nanoedge" in line]
    assert complaints == []
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=25", str(file)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout[-500:]
