"""The size report of a bundle: what every file takes on the device, and what it takes on the way there."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LEVEL: Final = 6  # what web servers use


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSize:
    """A file's path relative to the bundle, its bytes, and its bytes after gzip."""

    file: str
    size_bytes: int
    gzip_bytes: int


def measured(folder: Path) -> tuple[FileSize, ...]:
    """Measure every file below a folder, in the order of their paths."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(_measure(path, path.relative_to(folder).as_posix()) for path in files)


def table(sizes: Sequence[FileSize]) -> str:
    """Return the report as a Markdown table: a row for each file and folder at the top, and the sum."""
    groups = sorted({size.file.partition("/")[0] for size in sizes})
    rows = [_row(name, [size for size in sizes if size.file.partition("/")[0] == name]) for name in groups]
    return "\n".join(["| part | files | bytes | gzip |", "|---|--:|--:|--:|", *rows, _row("**all**", sizes)])


def listing(sizes: Iterable[FileSize]) -> str:
    """Return every file as a Markdown table."""
    rows = [f"| {size.file} | {size.size_bytes:,} | {size.gzip_bytes:,} |" for size in sizes]
    return "\n".join(["| file | bytes | gzip |", "|---|--:|--:|", *rows])


def _row(name: str, sizes: Sequence[FileSize]) -> str:
    kept, sent = (sum(getattr(size, member) for size in sizes) for member in ("size_bytes", "gzip_bytes"))
    return f"| {name} | {len(sizes)} | {kept:,} | {sent:,} |"


def _measure(path: Path, name: str) -> FileSize:
    content = path.read_bytes()
    return FileSize(
        file=name, size_bytes=len(content), gzip_bytes=len(gzip.compress(content, compresslevel=_LEVEL, mtime=0))
    )
