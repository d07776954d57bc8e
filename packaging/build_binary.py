"""Build the binary: one file and one folder, checked, with the licences of what is in them. `make binary` runs this.

Runs with the Python of a build environment that holds the runtime and PyInstaller and nothing else: what PyInstaller
finds there it brings along.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import debian_package
import materials
import symbols

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent
WORK: Final = ROOT / "build" / "binary"
DIST: Final = ROOT / "dist"

ZSTD_LEVEL: Final = 12
"""Level 19 takes nine times as long for 6 % fewer bytes."""


class BuildError(Exception):
    """The build's result is not one that may be given to anybody."""


def build() -> None:
    """Make everything in dist/; raises BuildError, or CalledProcessError of a tool that failed."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    arguments = ["--noconfirm", "--log-level=WARN", f"--distpath={WORK}", f"--workpath={WORK / 'work'}"]
    _run(sys.executable, "-m", "PyInstaller", *arguments, HERE / "nanoedge.spec")
    oldest = check_symbols(WORK / "folder")
    glibc, described = oldest["GLIBC"], ", ".join(map(str, oldest.values()))
    _run(WORK / "folder" / "nanoedge", "verify")  # every graph is opened and run: all libraries load
    _run(WORK / "nanoedge", "--version")
    folder = publish()
    if shutil.which("dpkg-deb"):
        work = WORK / "debian"
        debian_package.build_package(folder, work, version=_version(), glibc=".".join(map(str, glibc.version)))
    else:
        print("no dpkg-deb here: no package for Debian is made")
    print(f"{folder.relative_to(ROOT)}/ and {DIST.name}/nanoedge are made; {described}")


def check_symbols(folder: Path) -> dict[str, symbols.Need]:
    """Return the greatest need of each system library; raises BuildError when that is newer than promised."""
    found = symbols.needs(folder.rglob("*"))
    if too_new := [str(need) for need in found if need.is_too_new]:
        allowed = ", ".join(f"{name}_{'.'.join(map(str, limit))}" for name, limit in symbols.LIMITS.items())
        raise BuildError(
            f"libraries need a newer system than promised ({allowed}): {'; '.join(too_new)}. "
            "Build on an older system (docs/binary.md)."
        )
    return {
        library: max((need for need in found if need.library == library), key=lambda need: need.version)
        for library in symbols.LIMITS
    }


def publish() -> Path:
    """Put the results into dist/, the folder also as an archive; return the folder."""
    name = f"nanoedge-{_version()}-{sys.platform}-{platform.machine()}"
    folder = DIST / name
    DIST.mkdir(exist_ok=True)
    for earlier in DIST.glob("nanoedge[-_]*"):
        shutil.rmtree(earlier) if earlier.is_dir() else earlier.unlink()
    shutil.move(WORK / "folder", folder)
    shutil.move(WORK / "nanoedge", DIST / "nanoedge")
    for document in (materials.LICENCES, materials.BILL):
        shutil.copy(folder / "lib" / document, DIST / document)
    archive = DIST / f"{name}.tar.zst"
    owner = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]
    compressor = f"zstd -q -{ZSTD_LEVEL} --long=27 -T0"
    _run("tar", *owner, f"--use-compress-program={compressor}", "-C", DIST, "-cf", archive, name)
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in (DIST / "nanoedge", archive)]
    (DIST / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    return folder


def _version() -> str:
    return importlib.metadata.version("nanoedge")


def _run(*command: str | Path) -> None:
    """Run a command, never in the source tree: Python would find our packages there, not those that are installed."""
    subprocess.run(command, check=True, cwd=WORK)


if __name__ == "__main__":
    try:
        build()
    except (BuildError, subprocess.CalledProcessError) as error:
        sys.exit(f"build_binary: {error}")
