"""Writes artifacts: the folder appears at once and complete, or not at all, whenever the writer is killed."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Final, TypeVar

from edge_runtime.artifact import Artifact, check_size
from edge_runtime.errors import ArtifactError, NanoedgeError
from edge_runtime.files import flush_folder
from edge_runtime.manifest import MANIFEST_FILE, Component, DataFile, Manifest

PARTIAL_SUFFIX: Final = ".partial"
_CHUNK_BYTES: Final = 1024 * 1024
_Part = TypeVar("_Part", Component, DataFile)


def write_artifact(
    destination: str | os.PathLike[str], manifest: Manifest, files: Mapping[str, Path | bytes]
) -> Artifact:
    """Write a new artifact and return it, opened.

    `files` has the content of every component by the component's name, and of every data file by its `file`.
    Digests and sizes in `manifest` are replaced by measured ones. The folder appears at once and complete, or not at
    all: until then it is a sibling named `.NAME.<random>.partial`, which only a killed process leaves behind.
    Raises ArtifactError when the destination exists or a file can't be copied.
    """
    folder = Path(os.path.abspath(destination))
    _check_names(manifest, files)
    with partial_folder(folder) as partial:
        components = [_write_component(partial, part, files) for part in manifest.components]
        _write_manifest(partial, replace(manifest, components=tuple(components)).encode())
        _flush_folders(partial)
        partial.rename(folder)
        flush_folder(folder.parent)
    return Artifact.open(folder, verify=False)


def finish_artifact(folder: Path, destination: Path, manifest: Manifest) -> Artifact:
    """Make an artifact of the work folder `folder`, by renaming it to `destination`, and return it, opened.

    For files too large to be copied: `folder` lies on the destination's file system and holds every file of `manifest`
    under its final name; `manifest` is measured. Sizes are compared, digests are not: who wrote the files knows them.
    Nothing else may be in the folder but a manifest.json, which is replaced, and files that start with a dot, which
    are removed at the very end. Raises ArtifactError when anything differs, when the destination exists or when it
    can't be written; the folder then still has all its files, and may be finished later.
    """
    work, target = Path(os.path.abspath(folder)), Path(os.path.abspath(destination))
    _check_absent(target)
    encoded = manifest.encode()
    try:
        hidden = _check_work_folder(work, manifest)
        for part in manifest.files:
            with (work / part.file).open("rb+") as file:  # Windows flushes only what is open for writing
                _flush(file)
        _write_manifest(work, encoded)
        _flush_folders(work)
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_absent(target)  # again, as flushing may have taken minutes
        work.rename(target)
        flush_folder(target.parent)
    except OSError as error:
        raise ArtifactError(f"the artifact {target} can't be written", got=error) from error
    for name in hidden:  # only now: until the folder was renamed, they are what its owner could go on with
        with suppress(OSError):
            (target / name).unlink()
    return Artifact.open(target, verify=False)


@contextmanager
def partial_folder(
    destination: Path, what: str = "artifact", error_class: type[NanoedgeError] = ArtifactError
) -> Iterator[Path]:
    """Give a new sibling of `destination`, which is gone afterwards unless it was renamed.

    Raises `error_class` when the destination exists or a file can't be written.
    """
    _check_absent(destination, error_class)
    partial = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        partial.mkdir(parents=True)
        yield partial
    except OSError as error:
        raise error_class(f"the {what} {destination} can't be written", got=error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_absent(destination: Path, error_class: type[NanoedgeError] = ArtifactError) -> None:
    # A rename would silently replace an empty folder.
    if os.path.lexists(destination):
        raise error_class(
            "the destination exists already", got=destination, hint="choose another name, or delete it first"
        )


def _check_names(manifest: Manifest, files: Mapping[str, Path | bytes]) -> None:
    names = [name for part in manifest.components for name in (part.name, *(data.file for data in part.data))]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ArtifactError("a data file has the name of a component", got=", ".join(sorted(repeated)))
    if different := set(names) ^ set(files):
        raise ArtifactError(f"components and files of {manifest.name} differ", got=", ".join(sorted(different)))


def _check_work_folder(folder: Path, manifest: Manifest) -> list[str]:
    """Raise ArtifactError unless the folder has the manifest's files and no others; return its hidden files."""
    if folder.is_symlink() or not folder.is_dir():
        raise ArtifactError("there is no work folder at this path", got=folder)
    sizes = {part.file: part.bytes for part in manifest.files}
    parents = {parent.as_posix() for file in sizes for parent in PurePosixPath(file).parents}
    hidden, found = [], set()
    for path in folder.rglob("*"):
        name, status = path.relative_to(folder).as_posix(), path.lstat()
        if stat.S_ISDIR(status.st_mode) and name in parents:
            continue
        if not stat.S_ISREG(status.st_mode):
            raise ArtifactError(f"{name} in the work folder is not a regular file", got=stat.filemode(status.st_mode))
        if path.name.startswith("."):
            hidden.append(name)
        elif name in sizes:
            check_size(name, status.st_size, sizes[name])
            found.add(name)
        elif name != MANIFEST_FILE:
            raise ArtifactError("the work folder has a file that is not in the manifest", got=ascii(name))
    if missing := sizes.keys() - found:
        raise ArtifactError("the work folder lacks files", got=", ".join(sorted(missing)))
    return hidden


def _write_manifest(folder: Path, encoded: bytes) -> None:
    """Write it under another name first, so that a manifest.json is always whole."""
    partial = folder / f".{MANIFEST_FILE}{PARTIAL_SUFFIX}"
    with partial.open("wb") as file:
        file.write(encoded)
        _flush(file)
    partial.replace(folder / MANIFEST_FILE)


def _write_component(folder: Path, component: Component, files: Mapping[str, Path | bytes]) -> Component:
    graph = _write_file(folder, component, files[component.name])
    return replace(graph, data=tuple(_write_file(folder, part, files[part.file]) for part in component.data))


def _write_file(folder: Path, part: _Part, source: Path | bytes) -> _Part:
    digest, size_bytes = hashlib.sha256(), 0
    target = folder / part.file
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        for chunk in [source] if isinstance(source, bytes) else _chunks_of(source):
            digest.update(chunk)
            size_bytes += file.write(chunk)
        _flush(file)
    if not size_bytes:
        raise ArtifactError(f"the file of {part.name} is empty", got=source)
    return replace(part, sha256=digest.hexdigest(), bytes=size_bytes)


def _chunks_of(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folders(folder: Path) -> None:
    for parent, _, _ in os.walk(folder):
        flush_folder(Path(parent))
