"""nanoedge as a service of systemd: the program's own folder, a user, the unit, and all of it taken away again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_runtime.errors import NanoedgeError, OptionError

USER: Final = "nanoedge"
UNIT: Final = "nanoedge.service"
_TEMPLATE: Final = Path(__file__).with_name(UNIT)
_WHERE_SYSTEMD_RUNS: Final = Path("/run/systemd/system")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The system that is installed to: this one, or one whose files are under `root`, such as an image's."""

    root: Path = Path("/")

    @property
    def program(self) -> Path:
        """The folder of the program, as the installed system sees it."""
        return Path("/opt/nanoedge")

    @property
    def is_running(self) -> bool:
        """Whether it is this system, and systemd looks after it."""
        return self.root == Path("/") and _WHERE_SYSTEMD_RUNS.is_dir()

    def place(self, path: str | Path) -> Path:
        """Return where a file of the installed system is now."""
        return self.root / Path(path).relative_to("/")


def install(system: System, options: Sequence[str], say: Say) -> None:
    """Install this program as a service that runs `nanoedge serve` with `options`, and start it.

    Installing again replaces program and unit; settings and state stay. Raises OptionError without root's rights,
    NanoedgeError when something can't be written.
    """
    _check_rights(system)
    try:
        command = _place_program(system)
        _place(system.place(f"/etc/systemd/system/{UNIT}"), unit([str(command), "serve", *options]))
        _link(system.place(f"/etc/systemd/system/multi-user.target.wants/{UNIT}"), Path("..") / UNIT)
        _link(system.place("/usr/local/bin/nanoedge"), command)
        system.place("/etc/nanoedge").mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        hint = "free some space, or mount it for writing"
        raise NanoedgeError("the service can't be installed", got=error, hint=hint) from error
    _add_user(system)
    _open_settings(system)
    say(f"{command} is installed, with the unit {UNIT}")
    if system.is_running:
        _run("systemctl", "daemon-reload")
        _run("systemctl", "restart", UNIT)
        say("it runs now and after every restart: systemctl status nanoedge, journalctl -u nanoedge")
    else:
        say("systemd doesn't run there: the service starts when that system does")


def uninstall(system: System, *, purge: bool, say: Say) -> None:
    """Stop the service and take away what `install` made; settings, state and user only with `purge`."""
    _check_rights(system)
    if system.is_running:
        subprocess.run(["systemctl", "disable", "--now", UNIT], check=False, capture_output=True)
    wanted = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
    try:
        for path in (wanted, f"/etc/systemd/system/{UNIT}", "/usr/local/bin/nanoedge"):
            system.place(path).unlink(missing_ok=True)
        for folder in (str(system.program), *(("/etc/nanoedge", "/var/lib/nanoedge") if purge else ())):
            shutil.rmtree(system.place(folder), ignore_errors=False, onerror=_unless_missing)
    except OSError as error:
        raise NanoedgeError("the service can't be removed completely", got=error) from error
    if system.is_running:
        _run("systemctl", "daemon-reload")
    if purge and _has_user(system):
        _run("userdel", *_prefix(system), USER)
    say("removed" if purge else "removed; settings in /etc/nanoedge and state in /var/lib/nanoedge are kept (--purge)")


def unit(command: Sequence[str]) -> str:
    """Return the unit's text for a command line, spelled as systemd reads it."""
    return _TEMPLATE.read_text(encoding="utf-8").replace("@COMMAND@", " ".join(_quoted(word) for word in command))


def _quoted(word: str) -> str:
    """Quote a word so that systemd expands nothing in it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if escaped and not set(escaped) & set(" \t\n\"'\\;") else f'"{escaped}"'


def _check_rights(system: System) -> None:
    if not hasattr(os, "geteuid") or not sys.platform.startswith("linux"):
        raise OptionError("services are installed on Linux only", got=sys.platform)
    if system.root == Path("/") and os.geteuid() != 0:
        raise OptionError("installing needs root's rights", hint=f"run: sudo {sys.argv[0]} {' '.join(sys.argv[1:])}")


def _place_program(system: System) -> Path:
    """Copy this program to its folder; return the command there. One that isn't frozen stays where it is."""
    if not getattr(sys, "frozen", False):
        return Path(sys.executable).with_name("nanoedge")
    source, target = Path(sys.executable).resolve(), system.place(system.program)
    command = system.program / source.name
    if source == target / source.name:
        return command
    new, old = target.with_name("nanoedge.new"), target.with_name("nanoedge.old")
    for folder in (new, old):
        shutil.rmtree(folder, onerror=_unless_missing)
    if Path(sys._MEIPASS).parent == source.parent:  # type: ignore[attr-defined]  # the folder build
        shutil.copytree(source.parent, new, symlinks=True)
    else:
        new.mkdir(parents=True)
        shutil.copy2(source, new / source.name)
    new.chmod(0o755)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, onerror=_unless_missing)
    return command


def _place(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(path)


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _add_user(system: System) -> None:
    if not _has_user(system):
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/var/lib/nanoedge"]
        _run("useradd", *_prefix(system), *options, "--shell", "/usr/sbin/nologin", USER)


def _open_settings(system: System) -> None:
    """Let the service read its settings, and nobody else."""
    lines = system.place("/etc/group").read_text(encoding="utf-8").splitlines()
    group = next(int(line.split(":")[2]) for line in lines if line.startswith(f"{USER}:"))
    os.chown(system.place("/etc/nanoedge"), os.geteuid(), group)


def _has_user(system: System) -> bool:
    accounts = system.place("/etc/passwd")
    lines = accounts.read_text(encoding="utf-8").splitlines() if accounts.is_file() else []
    return any(line.startswith(f"{USER}:") for line in lines)


def _prefix(system: System) -> list[str]:
    return [] if system.root == Path("/") else ["--prefix", str(system.root)]


def _run(*command: str) -> None:
    """Run a program of the system; raises NanoedgeError with what it said."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    program = shutil.which(command[0], path=path)
    if program is None:
        raise NanoedgeError(f"this system has no {command[0]}", hint="install the package that brings it")
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NanoedgeError(f"{' '.join(command)} failed", got=done.stderr.strip() or done.returncode)


def _unless_missing(function: object, path: str, found: tuple[type, BaseException, object]) -> None:
    if not isinstance(found[1], FileNotFoundError):
        raise found[1]
