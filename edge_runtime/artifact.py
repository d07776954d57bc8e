"""An artifact on disk: a folder with manifest.json and the files that it names. Opening checks, writing is atomic."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import IO, Final, TypeVar

from edge_runtime.canonical_json import MAX_JSON_BYTES
from edge_runtime.checked_files import CheckedFiles
from edge_runtime.errors import ArtifactError, NanoedgeError
from edge_runtime.files import flush_folder
from edge_runtime.manifest import MANIFEST_FILE, Component, DataFile, Manifest

PARTIAL_SUFFIX: Final = ".partial"
_CHUNK_BYTES: Final = 1024 * 1024
_DIGEST_CHUNK_BYTES: Final = 256 * 1024  # stays in a core's cache between reading and hashing
_Part = TypeVar("_Part", Component, DataFile)


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
            _check_size(name, status.st_size, sizes[name])
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
        _check_size(part.file, os.fstat(file.fileno()).st_size, part.bytes)


def _check_digests(folder: Path, parts: Sequence[Component | DataFile], checked: CheckedFiles | None) -> None:
    """Compare every file with its digest, several at a time: gigabytes take seconds, and one digest uses one core."""
    largest_first = sorted(parts, key=lambda part: -part.bytes)
    with ThreadPoolExecutor(max_workers=min(len(parts), os.cpu_count() or 1)) as pool:
        running = [pool.submit(_check_digest, folder, part, checked) for part in largest_first]
        try:
            for each in running:
                each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


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


def _check_size(file: str, size_bytes: int, wanted_bytes: int) -> None:
    if size_bytes != wanted_bytes:
        raise ArtifactError(
            f"the file {file} has the wrong size",
            got=f"{size_bytes} bytes",
            allowed=f"{wanted_bytes} bytes",
            hint="it is damaged or incomplete: copy the artifact again",
        )


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
