"""What the binary is made of: for each bundled part its version, its licence and the files that came from it."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

OURS: Final = "nanoedge"
_BOOTLOADER: Final = "pyinstaller"  # its start program and its importers are in every binary
_LICENCE_NAMES: Final = ("licen", "copying", "notice", "thirdparty")
_LICENCE_ENDINGS: Final = ("", ".txt", ".md", ".rst", ".APACHE", ".BSD")
_APACHE: Final = Path(__file__).parents[1] / "LICENSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A distribution, the interpreter, or a package of the build system. `licence` is in its maker's words.

    `texts` are licence files in full; `libraries` its bundled native files, by their names in the binary.
    """

    name: str
    version: str
    licence: str
    origin: str
    texts: tuple[str, ...]
    libraries: dict[str, Path] = field(default_factory=dict)


class UnknownOriginError(Exception):
    """A bundled file belongs to nothing whose licence is known."""


def parts(modules: Iterable[Path], libraries: Mapping[str, tuple[Path, Path]]) -> list[Part]:
    """Return the parts in the order of their names.

    `modules` are the sources of all bundled code and data; `libraries` maps the name of each bundled native file to
    where it came from and what was bundled. Raises UnknownOriginError.
    """
    owners = _Owners()
    found = {part.name: part for part in (owners.distribution(_BOOTLOADER), _python())}
    for path in modules:
        part = owners.of(path)
        found.setdefault(part.name, part)
    for name, (source, bundled) in libraries.items():
        part = owners.of(source)
        found.setdefault(part.name, part).libraries[name] = bundled
    return sorted((part for part in found.values() if part.name != OURS), key=lambda part: part.name.lower())


class _Owners:
    """Knows the distribution of each installed file, and asks the system's package manager about others."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}
        self._by_path: dict[Path, str] = {}
        for distribution in importlib.metadata.distributions():
            for file in distribution.files or ():
                self._by_path[Path(str(file.locate())).resolve()] = distribution.name

    def of(self, path: Path) -> Part:
        path = path.resolve()
        if path.is_relative_to(Path(__file__).parent):
            return self.distribution(OURS)
        if name := self._by_path.get(path):
            return self.distribution(name)
        if path.is_relative_to(sysconfig.get_path("stdlib")) or path.name.startswith(("libpython", "base_library.zip")):
            return _python()
        return _system_package(path)

    def distribution(self, name: str) -> Part:
        if name not in self._parts:
            self._parts[name] = _distribution(importlib.metadata.distribution(name))
        return self._parts[name]


def _distribution(found: importlib.metadata.Distribution) -> Part:
    licence = _stated_licence(found.metadata.json)
    texts = [
        Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")
        for file in found.files or ()
        if file.name.lower().startswith(_LICENCE_NAMES) and file.suffix in _LICENCE_ENDINGS
    ]
    if not texts and "apache" in licence.lower():  # some wheels name it and leave the text out
        texts = [_APACHE.read_text(encoding="utf-8")]
    if not texts:
        raise UnknownOriginError(f"{found.name} {found.version} comes without the text of its licence ({licence})")
    name = found.name
    origin = f"pkg:pypi/{name.lower().replace('_', '-')}@{found.version}"
    return Part(name=name, version=found.version, licence=licence, origin=origin, texts=tuple(texts))


def _stated_licence(metadata: Mapping[str, str | list[str]]) -> str:
    """Return the expression, or the old field where it isn't the whole text, or the classifiers."""
    old = str(metadata.get("license", ""))
    lines = [line for line in metadata.get("classifier", ()) if line.startswith("License ::")]
    classified = ", ".join(line.rpartition(" :: ")[2] for line in lines)
    return str(metadata.get("license_expression", "")) or ("" if "\n" in old else old) or classified


def _python() -> Part:
    version = platform.python_version()
    places = [Path(sysconfig.get_path("stdlib")) / "LICENSE.txt", *Path("/usr/share").glob("*/python3*/LICENSE*")]
    text = next((place.read_text(encoding="utf-8") for place in places if place.is_file()), None)
    if text is None:
        raise UnknownOriginError("the licence of this Python is nowhere to be found")
    return Part(
        name="CPython", version=version, licence="PSF-2.0", origin=f"pkg:generic/cpython@{version}", texts=(text,)
    )


def _system_package(path: Path) -> Part:
    if shutil.which("dpkg-query"):
        return _debian_package(path)
    if shutil.which("rpm"):
        return _rpm_package(path)
    raise UnknownOriginError(f"{path} belongs to no Python package, and there is no dpkg or rpm to ask")


def _debian_package(path: Path) -> Part:
    owner = _said("dpkg-query", "--search", f"*/{path.name}").partition(":")[0]
    version = _said("dpkg-query", "--show", "--showformat", "${Version}\n", owner).partition("\n")[0]
    text = Path("/usr/share/doc", owner, "copyright").read_text(encoding="utf-8")
    return Part(
        name=owner, version=version, licence=f"see the text of {owner}", texts=(text,),
        origin=f"pkg:deb/debian/{owner}@{version}",
    )


def _rpm_package(path: Path) -> Part:
    query = "%{NAME}\t%{VERSION}-%{RELEASE}\t%{LICENSE}"
    name, version, licence = _said("rpm", "--query", "--queryformat", query, "--file", str(path)).split("\t")
    files = [Path(line) for line in _said("rpm", "--query", "--licensefiles", name).splitlines()]
    texts = tuple(file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())
    if not texts:
        raise UnknownOriginError(f"the package {name} brings no text of its licence ({licence})")
    return Part(name=name, version=version, licence=licence, origin=f"pkg:rpm/{name}@{version}", texts=texts)


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnknownOriginError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()
