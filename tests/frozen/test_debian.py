"""The binary in a Debian that has nothing but its base: no Python, no fonts, no certificates."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
OUT = "srv/edited.jpg"


def inside(debian: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in it, with nothing of our environment."""
    clean = ["chroot", str(debian), "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command]
    return subprocess.run(clean, capture_output=True, text=True, timeout=300)


@pytest.fixture
def place(debian: Path, photo: bytes) -> Iterator[Path]:
    """Its folder for trials, emptied afterwards."""
    (debian / "srv" / "photo.jpg").write_bytes(photo)
    yield debian / "srv"
    for path in (debian / "srv").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def check_edited(debian: Path) -> None:
    with Image.open(debian / OUT) as edited:
        assert edited.size == (512, 512)


def test_there_is_no_python(debian: Path) -> None:
    assert not list((debian / "usr" / "bin").glob("python*"))


def test_the_folder_edits_a_photo(debian: Path, place: Path, folder: Path) -> None:
    shutil.copytree(folder, place / "nanoedge", symlinks=True)
    done = inside(debian, "/srv/nanoedge/nanoedge", "edit", "/srv/photo.jpg", "warmer", "-o", f"/{OUT}")
    assert done.returncode == 0, done.stderr
    check_edited(debian)
    done = inside(debian, "/srv/nanoedge/nanoedge", "doctor")
    assert "apt-get install ca-certificates" in done.stdout and "ok    model nano-banana" in done.stdout


def test_one_file_edits_a_photo(debian: Path, place: Path, one_file: Path) -> None:
    shutil.copy(one_file, place / "nanoedge")
    done = inside(debian, "/srv/nanoedge", "edit", "/srv/photo.jpg", "warmer", "-o", f"/{OUT}")
    assert done.returncode == 0, done.stderr
    check_edited(debian)


@pytest.mark.parametrize("form", ["folder", "one file"])
def test_install_and_uninstall(debian: Path, place: Path, folder: Path, one_file: Path, form: str) -> None:
    if form == "folder":
        shutil.copytree(folder, place / "new", symlinks=True)
    else:
        (place / "new").mkdir()
        shutil.copy(one_file, place / "new" / "nanoedge")
    done = inside(debian, "/srv/new/nanoedge", "install", "--", "--port", "9000")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(place / "new")
    assert inside(debian, "id", "nanoedge").returncode == 0
    unit = (debian / "etc/systemd/system/nanoedge.service").read_text()
    assert "ExecStart=/opt/nanoedge/nanoedge serve --port 9000\n" in unit
    done = inside(debian, "/usr/local/bin/nanoedge", "edit", "/srv/photo.jpg", "warmer", "-o", f"/{OUT}")
    assert done.returncode == 0, done.stderr
    check_edited(debian)
    done = inside(debian, "/usr/local/bin/nanoedge", "uninstall", "--purge")
    assert done.returncode == 0, done.stderr
    assert inside(debian, "id", "nanoedge").returncode != 0 and not (debian / "opt/nanoedge").exists()


def test_the_package(debian: Path, place: Path, dist: Path) -> None:
    (package,) = dist.glob("nanoedge_*.deb")
    shutil.copy(package, place / "nanoedge.deb")
    done = inside(debian, "dpkg", "--install", "/srv/nanoedge.deb")
    assert done.returncode == 0, done.stderr
    assert inside(debian, "id", "nanoedge").returncode == 0
    done = inside(debian, "nanoedge", "edit", "/srv/photo.jpg", "warmer", "-o", f"/{OUT}")
    assert done.returncode == 0, done.stderr
    check_edited(debian)
    assert (debian / "usr/lib/systemd/system/nanoedge.service").exists()
    assert (debian / "usr/share/doc/nanoedge/copyright").stat().st_size > 100_000
    done = inside(debian, "dpkg", "--purge", "nanoedge")
    assert done.returncode == 0, done.stderr
    assert inside(debian, "id", "nanoedge").returncode != 0
    assert not (debian / "usr/lib/nanoedge").exists() and os.listdir(debian / "opt") == []
