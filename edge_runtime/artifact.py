"""An artifact on disk: a folder with manifest.json and the files that it names. Opening checks, writing is atomic."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

from edge_runtime.canonical_json import MAX_JSON_BYTES
from edge_runtime.errors import ArtifactError
from edge_runtime.manifest import MANIFEST_FILE, Component, Manifest

PARTIAL_SUFFIX: Final = ".partial"
_CHUNK_BYTES: Final = 1024 * 1024


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
    def open(cls, path: str | os.PathLike[str], verify: bool = True) -> Artifact:
        """Read and check the artifact in the folder `path`.

        `verify=False` checks the manifest, the places and the sizes, but doesn't read the files for their digests.
        Raises ArtifactError when anything differs from the manifest or leaves the folder.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise ArtifactError("there is no artifact at this path", got=folder, hint="give the folder of an artifact")
        with _open_file(folder, MANIFEST_FILE) as file:
            encoded = file.read(MAX_JSON_BYTES + 1)
        manifest = Manifest.decode(encoded)
        for component in manifest.components:
            _check_component(folder, component, verify)
        return cls(folder=folder, manifest=manifest, version=hashlib.sha256(encoded).hexdigest()[:12])

    def path(self, component: str) -> Path:
        """Return the absolute path of a component's file; raises ArtifactError for an unknown component."""
        return _locate(self.folder, self.manifest.component(component).file)


def write_artifact(
    destination: str | os.PathLike[str], manifest: Manifest, files: Mapping[str, Path | bytes]
) -> Artifact:
    """Write a new artifact and return it, opened. `files` has the content of every component, by component name.

    Digests and sizes in `manifest` are replaced by measured ones. The folder appears at once and complete, or not at
    all: until then it is a sibling named `.NAME.<random>.partial`, which only a killed process leaves behind.
    Raises ArtifactError when the destination exists or a file can't be copied.
    """
    folder = Path(os.path.abspath(destination))
    if names := {component.name for component in manifest.components} ^ set(files):
        raise ArtifactError(f"components and files of {manifest.name} differ", got=", ".join(sorted(names)))
    with _partial_folder(folder) as partial:
        components = [_write_component(partial, part, files[part.name]) for part in manifest.components]
        encoded = replace(manifest, components=tuple(components)).encode()
        with (partial / MANIFEST_FILE).open("xb") as file:
            file.write(encoded)
            _flush(file)
        _flush_folders(partial)
        partial.rename(folder)
        _flush_folder(folder.parent)
    return Artifact.open(folder, verify=False)


@contextmanager
def _partial_folder(destination: Path) -> Iterator[Path]:
    """Give a new sibling of `destination`, which is gone afterwards unless it was renamed."""
    # A rename would silently replace an empty folder.
    if os.path.lexists(destination):
        raise ArtifactError(
            "the destination exists already", got=destination, hint="choose another name, or delete it first"
        )
    partial = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        partial.mkdir(parents=True)
        yield partial
    except OSError as error:
        raise ArtifactError(f"the artifact {destination} can't be written", got=error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_component(folder: Path, component: Component, source: Path | bytes) -> Component:
    digest, size_bytes = hashlib.sha256(), 0
    target = folder / component.file
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        for chunk in [source] if isinstance(source, bytes) else _chunks_of(source):
            digest.update(chunk)
            size_bytes += file.write(chunk)
        _flush(file)
    if not size_bytes:
        raise ArtifactError(f"the file of {component.name} is empty", got=source)
    return replace(component, sha256=digest.hexdigest(), bytes=size_bytes)


def _check_component(folder: Path, component: Component, verify: bool) -> None:
    with _open_file(folder, component.file) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes != component.bytes:
            raise ArtifactError(
                f"the file {component.file} has the wrong size",
                got=f"{size_bytes} bytes",
                allowed=f"{component.bytes} bytes",
                hint="it is damaged or incomplete: copy the artifact again",
            )
        if verify and (digest := _digest(file)) != component.sha256:
            raise ArtifactError(
                f"the file {component.file} has the wrong SHA-256",
                got=digest,
                allowed=component.sha256,
                hint="it is damaged or was changed: copy the artifact again",
            )


def _locate(folder: Path, file: str) -> Path:
    """Return the real path of a regular file below `folder`; raises ArtifactError when it lies elsewhere."""
    try:
        path = Path(os.path.realpath(folder / file, strict=True))
        mode = path.stat().st_mode
    except OSError as error:
        raise ArtifactError(
            f"the artifact's {file} can't be read", got=error, hint="the artifact is incomplete: copy it again"
        ) from error
    if not path.is_relative_to(os.path.realpath(folder)):
        raise ArtifactError(
            f"the artifact's {file} is a link that leaves it", got=path, allowed=folder, hint="copy the file instead"
        )
    if not stat.S_ISREG(mode):
        raise ArtifactError(f"the artifact's {file} is not a regular file", got=stat.filemode(mode))
    return path


def _open_file(folder: Path, file: str) -> IO[bytes]:
    path = _locate(folder, file)
    try:
        return path.open("rb")
    except OSError as error:
        raise ArtifactError(f"the artifact's {file} can't be read", got=error) from error


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks_of(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folders(folder: Path) -> None:
    for parent, _, _ in os.walk(folder):
        _flush_folder(Path(parent))


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows can't open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
