"""Files of a package from the npm registry, pinned by version and digest, without installing anything."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_runtime.errors import MissingExtraError, OptionError

SECONDS: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class NpmPackage:
    """A package of one version; `integrity` is the registry's `sha512-<base64>` of its archive."""

    name: str
    version: str
    integrity: str

    @property
    def spec(self) -> str:
        """The package as npm takes it."""
        return f"{self.name}@{self.version}"

    @contextmanager
    def opened(self, given: Path | None = None) -> Iterator[Path]:
        """Give the package's folder, which is gone afterwards unless it was given.

        `given` is an archive of `npm pack`, whose digest is compared, or the unpacked package, whose version is; None
        asks npm for the archive. Raises OptionError when it is another package, MissingExtraError without npm.
        """
        if given is not None and given.is_dir():
            yield self._checked_folder(given)
            return
        with tempfile.TemporaryDirectory(prefix="nanoedge-") as folder:
            archive = given or self._packed(Path(folder))
            self._check_digest(archive)
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            yield self._checked_folder(Path(folder) / "package")

    def _packed(self, folder: Path) -> Path:
        npm = shutil.which("npm")
        if npm is None:
            raise MissingExtraError(
                f"npm is not installed, which fetches {self.spec}",
                hint=f"install Node.js, or give the package's archive with --{self.name}",
            )
        command = [npm, "pack", self.spec, "--pack-destination", str(folder), "--json", "--ignore-scripts"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
        except (subprocess.SubprocessError, OSError) as error:
            said = getattr(error, "stderr", None) or str(error)
            raise OptionError(
                f"npm can't fetch {self.spec}", got=said.strip(),
                hint=f"check the network and npm's registry, or give the package's archive with --{self.name}",
            ) from error
        return folder / str(json.loads(done.stdout)[0]["filename"])

    def _check_digest(self, archive: Path) -> None:
        try:
            digest = hashlib.sha512(archive.read_bytes()).digest()
        except OSError as error:
            raise OptionError(f"the archive of {self.spec} can't be read", got=error) from error
        found = f"sha512-{base64.b64encode(digest).decode('ascii')}"
        if found != self.integrity:
            raise OptionError(
                f"the archive is not {self.spec}", got=f"{archive}: {found}", allowed=self.integrity,
                hint=f"fetch it with: npm pack {self.spec}",
            )

    def _checked_folder(self, folder: Path) -> Path:
        try:
            described = json.loads((folder / "package.json").read_text(encoding="utf-8"))
            found = f"{described['name']}@{described['version']}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OptionError(f"this folder is not the package {self.spec}", got=folder) from error
        if found != self.spec:
            raise OptionError("the package has another version", got=found, allowed=self.spec)
        return folder
