"""The build's check of what systems its libraries need, on a real library and on one that asks for too much."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import symbols


@pytest.fixture
def library() -> Path:
    """A library of a wheel that promises glibc 2.28."""
    spec = importlib.util.find_spec("numpy._core._multiarray_umath")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin)


def test_a_wheels_library_is_old_enough(library: Path) -> None:
    (need,) = [need for need in symbols.needs([library]) if need.library == "GLIBC"]
    assert (2, 14) <= need.version <= (2, 28) and not need.is_too_new


def test_one_that_needs_a_newer_glibc_is_found(library: Path, tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled.so"
    spoiled.write_bytes(library.read_bytes().replace(b"GLIBC_2.14\0", b"GLIBC_2.36\0"))
    (need,) = [need for need in symbols.needs([spoiled]) if need.library == "GLIBC"]
    assert need.is_too_new and str(need) == "spoiled.so needs GLIBC_2.36"


def test_other_files_and_links_need_nothing(library: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    (tmp_path / "link").symlink_to(library)
    assert symbols.needs(tmp_path.iterdir()) == []


def test_a_library_with_misplaced_segments_is_not_loadable(library: Path, tmp_path: Path) -> None:
    assert symbols.is_loadable(library)
    data = bytearray(library.read_bytes())
    program_headers = int.from_bytes(data[32:40], "little")
    data[program_headers + 8 : program_headers + 16] = (0x123).to_bytes(8, "little")  # p_offset of the first
    (tmp_path / "shifted.so").write_bytes(data)
    assert not symbols.is_loadable(tmp_path / "shifted.so")
