"""Which versions of the system's libraries the bundled programs and libraries need: what the oldest system must have.

A library that was built against glibc 2.36 doesn't load on Ubuntu 22.04, which has 2.35, and says so only there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

Version: TypeAlias = tuple[int, ...]

LIMITS: Final[dict[str, Version]] = {"GLIBC": (2, 35), "GLIBCXX": (3, 4, 30)}
"""Ubuntu 22.04, which is JetPack 6 too. Its libstdc++ is GCC 12's."""

_VERSION: Final = re.compile(r"([A-Z]+)_([0-9.]+)")
_PAGE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A file needs `library`, such as GLIBC, in at least `version`."""

    path: Path
    library: str
    version: Version

    @property
    def is_too_new(self) -> bool:
        """Whether the oldest system that we promise to run on lacks it."""
        return self.version > LIMITS[self.library]

    def __str__(self) -> str:
        return f"{self.path.name} needs {self.library}_{'.'.join(map(str, self.version))}"


def needs(paths: Iterable[Path]) -> list[Need]:
    """Return for every ELF file among `paths` the newest version that it needs of each library in LIMITS."""
    return [
        Need(path=path, library=library, version=version)
        for path in paths
        if is_elf(path)
        for library, version in _newest(path).items()
    ]


def is_elf(path: Path) -> bool:
    """Return whether a path is a program or a library, and no link to one."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def is_loadable(path: Path) -> bool:
    """Return whether the loader can map the file: `strip` misplaces segments of some libraries that were patched."""
    with path.open("rb") as file:
        segments = ELFFile(file).iter_segments("PT_LOAD")
        return all((segment["p_offset"] - segment["p_vaddr"]) % _PAGE_BYTES == 0 for segment in segments)


def _newest(path: Path) -> dict[str, Version]:
    found: dict[str, Version] = {}
    for name in _version_names(path):
        if (match := _VERSION.fullmatch(name)) and match[1] in LIMITS:
            version = tuple(map(int, match[2].split(".")))
            found[match[1]] = max(version, found.get(match[1], ()))
    return found


def _version_names(path: Path) -> Iterator[str]:
    """Yield `GLIBC_2.34` and the like; `GLIBC_PRIVATE` and others that are no versions too."""
    with path.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if isinstance(section, GNUVerNeedSection):
                for _, auxiliaries in section.iter_versions():
                    yield from (auxiliary.name for auxiliary in auxiliaries)
