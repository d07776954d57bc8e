"""Compilers of the phones' languages for this machine, in a cache folder outside the repository.

Kotlin's comes from npm, pinned by digest; JUnit from Debian; Swift's is the package of Debian 13, unpacked with all it
needs into a folder of its own that programs run in as their root, because Debian 12 has no Swift and an older libc.
What is missing is fetched once; what can't be fetched fails with the reason.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mobile_export.npm_package import NpmPackage

KOTLIN: Final = NpmPackage(
    name="kotlin-compiler",
    version="2.4.20",
    integrity="sha512-IF5IVM7LpPhA/ntHQQpaVt1yxpaaQovtEVYLyqWMuaLr0XelLPPm7/sM6HLhtcRjjjoSsK7I7lP2kzYJkMy73w==",
)
JUNIT: Final = ("junit4", "libhamcrest-java")
SWIFT: Final = "swiftlang=6.0.3-2"
SWIFT_NEEDS: Final = ("libc6-dev", "libstdc++-14-dev", "dash")
SUITE: Final = "trixie"
LEFT_OUT: Final = ("*/lldb*", "*/liblldb*", "*/clangd", "*/docc", "*/sourcekit*", "*/libsourcekit*", "*/swift_static/*")
"""Debuggers and editors' services of the Swift package: a gigabyte."""

COMPILER_HEAP: Final = "-Xmx1g"


@dataclass(frozen=True, slots=True)
class Kotlin:
    """A folder with the compiler's jars and JUnit's."""

    folder: Path

    @classmethod
    def installed(cls) -> Kotlin:
        assert shutil.which("java"), "the Kotlin checks need a JRE: apt-get install openjdk-17-jre-headless"
        return cls(_cached(f"kotlin-{KOTLIN.version}", _fill_kotlin))

    @property
    def libraries(self) -> list[Path]:
        """What programs run with: the language's library, coroutines, and JUnit."""
        names = ("kotlin-stdlib.jar", "kotlinx-coroutines-core-jvm.jar", "junit4.jar", "hamcrest.jar")
        return [self.folder / name for name in names]

    def compile(self, sources: Sequence[Path], jar: Path) -> None:
        """Compile; raises AssertionError with what the compiler says, warnings included."""
        command = [
            "java", COMPILER_HEAP, "-cp", f"{self.folder}/*", "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler",
            "-no-stdlib", "-no-reflect", "-Werror", "-cp", _path(self.libraries), "-d", str(jar), *map(str, sources),
        ]
        _run(command)

    def command(self, jar: Path, main: str, resources: Sequence[Path] = (), **properties: Path) -> list[str]:
        """Return the command that runs a program; `resources` are folders that it finds its resources in."""
        given = [f"-Dnanoedge.{name}={value}" for name, value in properties.items()]
        return ["java", *given, "-cp", _path([jar, *self.libraries, *resources]), main]


INSIDE: Final = "/package"
"""Where a folder lies for what runs inside the compiler's root folder."""


@dataclass(frozen=True, slots=True)
class Swift:
    """A root folder with the compiler and all that it needs."""

    root: Path

    @classmethod
    def installed(cls) -> Swift:
        return cls(_cached(SWIFT.replace("=", "-"), _fill_swift))

    def command(self, folder: Path, *command: str) -> list[str]:
        """Return the command that runs another one inside the root, with `folder` mounted at INSIDE."""
        (self.root / INSIDE.lstrip("/")).mkdir(exist_ok=True)
        namespace = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        inside = shlex.join([
            "env", "-i", "HOME=/tmp", "PATH=/usr/libexec/swift/bin:/usr/bin",
            "LD_LIBRARY_PATH=/usr/libexec/swift/lib/swift/linux",
            shutil.which("unshare") or "unshare", f"--root={self.root}", f"--wd={INSIDE}", *command,
        ])
        mounts = (("/dev", "dev"), ("/proc", "proc"), (str(folder), INSIDE.lstrip("/")))
        bound = "".join(f"mount --rbind {shlex.quote(source)} {self.root}/{target} && " for source, target in mounts)
        # the mounts are the command's own: nobody else sees them, and they end with it
        return ["unshare", *namespace, "--mount", "sh", "-c", f"{bound}exec {inside}"]

    def run(self, folder: Path, *command: str) -> None:
        """Run a command to its end; raises AssertionError with what it says when it fails."""
        _run(self.command(folder, *command))


def _fill_kotlin(folder: Path) -> None:
    with KOTLIN.opened() as package:
        for jar in (package / "lib").glob("*.jar"):
            if not jar.stem.endswith("-sources"):
                shutil.copy(jar, folder)
    packages = folder / "packages"
    packages.mkdir()
    _apt(["download", *JUNIT], packages)
    for package in packages.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(packages)])
    for name in ("junit4.jar", "hamcrest.jar"):
        shutil.copy((packages / "usr/share/java" / name).resolve(), folder / name)
    shutil.rmtree(packages)


def _fill_swift(folder: Path) -> None:
    lists = folder / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (lists / part).mkdir(parents=True)
    (lists / "status").touch()
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (lists / "sources.list").write_text(f"deb [signed-by={key}] http://deb.debian.org/debian {SUITE} main\n")
    options = {
        "Dir::Etc::sourcelist": lists / "sources.list", "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": lists / "lists", "Dir::State::status": lists / "status",
        "Dir::Cache": lists / "cache", "APT::Sandbox::User": "root",
    }
    given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    _apt([*given, "update"], folder)
    _apt([*given, "install", "--yes", "--download-only", "--no-install-recommends", SWIFT, *SWIFT_NEEDS], folder)
    left_out = " ".join(f"--exclude={shlex.quote(pattern)}" for pattern in LEFT_OUT)
    for package in (lists / "cache/archives").glob("*.deb"):
        unpack = f"tar -x -C {shlex.quote(str(folder))} {left_out}"
        _run(["sh", "-c", f"dpkg-deb --fsys-tarfile {shlex.quote(str(package))} | {unpack}"])
    shutil.rmtree(lists)
    for link, target in (("lib", "usr/lib"), ("lib64", "usr/lib64"), ("bin", "usr/bin")):
        (folder / link).symlink_to(target)
    for name in ("dev", "proc", "tmp"):
        (folder / name).mkdir(exist_ok=True)


def _cached(name: str, fill: Callable[[Path], None]) -> Path:
    """Return a folder of the cache that is complete, filled now if it wasn't there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nanoedge" / "toolchains"
    folder = cache / name
    if folder.exists():
        return folder
    partial = cache / f".{name}.{secrets.token_hex(4)}"
    partial.mkdir(parents=True)
    try:
        fill(partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _apt(arguments: Sequence[str], folder: Path) -> None:
    assert shutil.which("apt-get"), "these checks fetch Debian's packages, and there is no apt-get here"
    try:
        _run(["apt-get", "--quiet", *arguments], folder)
    except AssertionError:
        if arguments[0] != "download":
            raise
        _run(["apt-get", "--quiet", "update"])  # a fresh machine has no lists
        _run(["apt-get", "--quiet", *arguments], folder)


def _path(files: Sequence[Path]) -> str:
    return os.pathsep.join(map(str, files))


def _run(command: Sequence[str], folder: Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    said = f"{done.stdout}{done.stderr}"
    assert done.returncode == 0, f"{shlex.join(command)[:400]} ended with {done.returncode}:\n{said}"
