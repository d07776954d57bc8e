"""An artifact on disk: a folder with manifest.json and the files that it names. Opening checks all of it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Final

from edge_runtime.canonical_json import MAX_JSON_BYTES
from edge_runtime.checked_files import CheckedFiles
from edge_runtime.errors import ArtifactError, NanoedgeError
from edge_runtime.manifest import MANIFEST_FILE, Component, DataFile, Manifest

_DIGEST_CHUNK_BYTES: Final = 256 * 1024  # stays in a core's cache between reading and hashing


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A folder whose manifest has been read and whose files have been checked.

    `version` is the start of the manifest's SHA-256. The manifest holds the digests of all files, so two artifacts of
    one version are equal to the last byte.
    """

    folder: Path
    manifest: Manifest
    version: str

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], verify: bool = True, checked: CheckedFiles | None = None
    ) -> Artifact:
        """Read and check the artifact in the folder `path`.

        `verify=False` checks the manifest, the places and the sizes, but doesn't read the files for their digests;
        `checked` knows files that need not be read, and learns of others.
        Raises ArtifactError when anything differs from the manifest or leaves the folder.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise ArtifactError("there is no artifact at this path", got=folder, hint="give the folder of an artifact")
        with _open_file(folder, MANIFEST_FILE) as file:
            encoded = file.read(MAX_JSON_BYTES + 1)
        manifest = Manifest.decode(encoded)
        for component in manifest.components:
            _check_component(folder, component)
        if verify:
            _check_digests(folder, manifest.files, checked)
        return cls(folder=folder, manifest=manifest, version=hashlib.sha256(encoded).hexdigest()[:12])

    def path(self, component: str) -> Path:
        """Return the absolute path of a component's file, which has the component's data files beside it.

        Raises ArtifactError for an unknown component.
        """
        return locate(self.folder, self.manifest.component(component).file)


def _check_component(folder: Path, component: Component) -> None:
    _check_file(folder, component)
    graph = locate(folder, component.file)
    for part in component.data:
        _check_file(folder, part)
        # An engine looks from the graph that it opens: there, and nowhere else, must be what was checked.
        beside = PurePosixPath(part.file).relative_to(PurePosixPath(component.file).parent)
        if locate(graph.parent, beside.as_posix()) != locate(folder, part.file):
            raise ArtifactError(
                f"the artifact's {part.file} is not beside its graph",
                got=f"{component.file} is a link to {graph}",
                hint="copy the files instead",
            )


def _check_file(folder: Path, part: Component | DataFile) -> None:
    with _open_file(folder, part.file) as file:
        check_size(part.file, os.fstat(file.fileno()).st_size, part.bytes)


def _check_digests(folder: Path, parts: Sequence[Component | DataFile], checked: CheckedFiles | None) -> None:
    """Compare every file with its digest, several at a time: gigabytes take seconds, and one digest uses one core."""
    largest_first = sorted(parts, key=lambda part: -part.bytes)
    with ThreadPoolExecutor(max_workers=min(len(parts), os.cpu_count() or 1)) as pool:
        for _ in pool.map(lambda part: _check_digest(folder, part, checked), largest_first):
            pass  # the first that raises ends this, and those that haven't begun


def _check_digest(folder: Path, part: Component | DataFile, checked: CheckedFiles | None) -> None:
    with _open_file(folder, part.file) as file:
        before = os.fstat(file.fileno())
        if checked is not None and checked.holds(before, part.sha256):
            return
        digest = _digest(file)
        if digest != part.sha256:
            raise ArtifactError(
                f"the file {part.file} has the wrong SHA-256",
                got=digest,
                allowed=part.sha256,
                hint="it is damaged or was changed: copy the artifact again",
            )
        if checked is not None:
            checked.add(before, os.fstat(file.fileno()), part.sha256)


def locate(
    folder: Path, file: str, what: str = "artifact", error_class: type[NanoedgeError] = ArtifactError
) -> Path:
    """Return the real path of a regular file below `folder`; raises `error_class` when it lies elsewhere."""
    try:
        path = Path(os.path.realpath(folder / file, strict=True))
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise error_class(
            f"the {what}'s {file} can't be read", got=error, hint=f"the {what} is incomplete: copy it again"
        ) from error
    if not path.is_relative_to(os.path.realpath(folder)):
        raise error_class(
            f"the {what}'s {file} lies outside it, or is a link that leaves it", got=path, allowed=folder,
            hint="copy the file instead",
        )
    if not stat.S_ISREG(mode):
        raise error_class(f"the {what}'s {file} is not a regular file", got=stat.filemode(mode))
    return path


def check_size(file: str, size_bytes: int, wanted_bytes: int) -> None:
    """Raise ArtifactError unless a file has the size that the manifest says."""
    if size_bytes != wanted_bytes:
        raise ArtifactError(
            f"the file {file} has the wrong size",
            got=f"{size_bytes} bytes",
            allowed=f"{wanted_bytes} bytes",
            hint="it is damaged or incomplete: copy the artifact again",
        )


def _open_file(folder: Path, file: str) -> BufferedReader:
    path = locate(folder, file)
    try:
        return path.open("rb")
    except OSError as error:
        raise ArtifactError(f"the artifact's {file} can't be read", got=error) from error


def _digest(file: BufferedReader) -> str:
    digest, chunk = hashlib.sha256(), bytearray(_DIGEST_CHUNK_BYTES)
    while size := file.readinto(chunk):
        digest.update(memoryview(chunk)[:size])
    return digest.hexdigest()
