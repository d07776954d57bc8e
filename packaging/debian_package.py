"""The folder build as a package for Debian and Ubuntu: program, unit, user, licences."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import materials

from server.installation import UNIT, unit

TEMPLATES: Final = Path(__file__).with_name("debian")
SCRIPTS: Final = ("postinst", "prerm", "postrm")
PROGRAM: Final = Path("usr/lib/nanoedge")


def build_package(folder: Path, work: Path, *, version: str, glibc: str) -> Path:
    """Write the .deb of a folder build beside it and return its path; `glibc` is the oldest that it runs with.

    `work` is a folder that doesn't exist yet. Needs dpkg-deb.
    """
    shutil.copytree(folder, work / PROGRAM, symlinks=True)
    _file(work / "usr/lib/systemd/system" / UNIT, unit(["/usr/bin/nanoedge", "serve"]))
    _file(work / "usr/share/doc/nanoedge/copyright", (folder / "lib" / materials.LICENCES).read_text(encoding="utf-8"))
    (work / "usr/bin").mkdir()
    (work / "usr/bin/nanoedge").symlink_to(Path("..") / PROGRAM.relative_to("usr") / "nanoedge")
    said = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True)
    values = {
        "VERSION": version, "ARCHITECTURE": said.stdout.strip(), "GLIBC": glibc, "KIBIBYTES": str(_kibibytes(work)),
    }
    control = (TEMPLATES / "control").read_text(encoding="utf-8")
    for name, value in values.items():
        control = control.replace(f"@{name}@", value)
    _file(work / "DEBIAN/control", control)
    for script in SCRIPTS:
        _file(work / "DEBIAN" / script, (TEMPLATES / script).read_text(encoding="utf-8"), mode=0o755)
    package = folder.with_name(f"nanoedge_{version}_{values['ARCHITECTURE']}.deb")
    # zstd, which Ubuntu 22.04 and Debian 12 read; xz takes a minute
    command = ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z12", "--build", str(work), str(package)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return package


def _kibibytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) // 1024


def _file(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
