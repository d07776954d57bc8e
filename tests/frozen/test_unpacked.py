"""What killed one-file programs leave behind is removed; what others use, or own, is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import unpacked

HOLDER = "import sys, pathlib, unpacked; unpacked.hold(pathlib.Path(sys.argv[1])); print('held', flush=True); input()"


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The folder of a program that ran and is gone."""
    return made(tmp_path / "_MEIleft", "4711")


def made(folder: Path, process: str) -> Path:
    (folder / "numpy").mkdir(parents=True)
    (folder / "numpy" / "core.so").write_bytes(b"x" * 1000)
    (folder / unpacked.LOCK).write_text(process)
    return folder


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    folder = made(tmp_path / "_MEIheld", "")
    environment = {**os.environ, "PYTHONPATH": str(Path(unpacked.__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        yield folder
        holder.communicate(b"\n", timeout=30)


def test_a_folder_whose_process_is_gone_is_removed(left: Path, held: Path, tmp_path: Path) -> None:
    assert unpacked.sweep(tmp_path) == [left]
    assert not left.exists() and (held / "numpy" / "core.so").exists()


def test_one_that_is_being_unpacked_is_left_alone_until_it_is_old(tmp_path: Path) -> None:
    folder = made(tmp_path / "_MEInew", "")
    assert unpacked.sweep(tmp_path) == []
    os.utime(folder / unpacked.LOCK, (0, 0))
    assert unpacked.sweep(tmp_path) == [folder]


def test_folders_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "_MEIother").mkdir()  # another program that PyInstaller made
    made(tmp_path / "mine", "4711")
    target = made(tmp_path / "target", "4711")
    (tmp_path / "_MEIlink").symlink_to(target)
    (tmp_path / "_MEIfile").write_text("")
    assert unpacked.sweep(tmp_path) == []
    assert target.exists() and (tmp_path / "mine").exists() and (tmp_path / "_MEIother").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_folders_of_other_users_stay(left: Path, tmp_path: Path) -> None:
    os.chown(left, 12345, 12345)
    assert unpacked.sweep(tmp_path) == []


STARTER = """
import subprocess, sys, threading
def start():
    global worker
    command = [sys.executable, "-c", *sys.argv[1:]]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    worker.stdout.readline()
thread = threading.Thread(target=start)
thread.start()
thread.join()
try:
    worker.wait(0.5)
except subprocess.TimeoutExpired:
    print("alive")
worker.kill()
"""


@pytest.mark.parametrize(("process", "said"), [("", ""), ("4711", "alive\n")])
def test_only_the_first_process_ends_with_what_started_it(tmp_path: Path, process: str, said: str) -> None:
    """A worker outlives the thread of the server that started it."""
    folder = made(tmp_path / "_MEIshared", process)
    environment = {**os.environ, "PYTHONPATH": str(Path(unpacked.__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", STARTER, HOLDER, folder], capture_output=True, text=True, timeout=30, env=environment
    )
    assert done.stdout == said, done.stderr
