"""Models and what runs them: digests of every file, and a graph really run on every device that there seems to be."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_runtime import inspection, plugins
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.engine import Engine, engine_for
from edge_runtime.errors import NanoedgeError
from edge_runtime.machine import Machine
from edge_runtime.minisign import PublicKey
from edge_runtime.store.layout import Store
from edge_runtime.store.trust import check_whole, trusted_keys
from edge_runtime.store.version import EMBEDDED_VERSION, Version
from server.doctor.finding import Finding, fail, ok, warn

_ENGINE: Final = "onnxruntime"
_UNFINISHED_BYTES: Final = 100_000_000
_TRIED: Final = "vision"
"""The embedded model's graph with the most arithmetic."""


def models(folders: Sequence[Path]) -> Iterator[Finding]:
    """Open the embedded model and others, as serving them would: every file must have its digest."""
    for folder in (EMBEDDED, *folders):
        subject = f"model {folder.name}"
        fix = "copy it again from where it came" if folder != EMBEDDED else "install nanoedge again: its files changed"
        try:
            artifact = Artifact.open(folder)
        except NanoedgeError as error:
            yield fail(subject, str(error), fix)
            continue
        size = f"{artifact.manifest.total_bytes / 1e6:,.1f} MB in {len(artifact.manifest.files)} files"
        yield ok(subject, f"version {artifact.version}, {size}, all digests right")
        yield from _engine(subject, artifact)


def stored(folder: Path, keys_file: Path | None) -> Iterator[Finding]:
    """Read every version in the model store, and look at what is active."""
    store = Store(folder)
    try:
        store.check()
        keys = trusted_keys(store, keys_file)
        names = store.names()
    except NanoedgeError as error:
        yield fail("model store", str(error), "what the message says; nothing in the store was changed")
        return
    versions = [version for name in names for version in store.versions(name) if version.digest != EMBEDDED_VERSION]
    size = sum(path.stat().st_blocks * 512 for path in store.partial.glob("*/**/*") if path.is_file())
    signed = f", signed by {', '.join(map(str, keys))}" if keys else ""
    yield ok("model store", f"{folder}, {len(versions)} versions{signed}")
    if size > _UNFINISHED_BYTES:
        fix = f"pull it to the end, or delete {store.partial}"
        yield warn("model store", f"{size / 1e6:,.0f} MB of unfinished downloads", fix)
    for version in versions:
        yield _stored(store, version, keys)
    for name in names:
        yield from _pointed(store, name)


def _stored(store: Store, version: Version, keys: Sequence[PublicKey]) -> Finding:
    subject = f"model {version}"
    try:
        artifact = check_whole(version, keys)
    except NanoedgeError as error:
        back = f"nanoedge models rollback {version.name}, or pull it again from {version.origin}"
        with suppress(NanoedgeError):
            if store.pointer(version.name).active != version.digest:
                back = f"nanoedge models remove {version}, and pull it again from {version.origin}"
        return fail(subject, str(error), back)
    return ok(subject, f"{artifact.manifest.total_bytes / 1e6:,.1f} MB, all digests right")


def _pointed(store: Store, name: str) -> Iterator[Finding]:
    """Say what is wrong with the active version of a name, or that there is none."""
    try:
        active = store.active_of(name)
    except NanoedgeError as error:
        yield fail(f"active {name}", str(error), f"nanoedge models list, then nanoedge models activate {name}@VERSION")
        return
    if active is None:
        yield warn(f"active {name}", "no version is active", f"nanoedge models activate {name}@VERSION")


def devices(wanted: str | None) -> Iterator[Finding]:
    """Run a graph of the embedded model on each device that the engine offers, and on the one that is wanted."""
    try:
        artifact = Artifact.open(EMBEDDED)
        engine = plugins.load("engines", _ENGINE)
    except NanoedgeError as error:
        yield fail("devices", str(error), "repair the model or the library that is named")
        return
    offered = engine.devices()
    for device in dict.fromkeys([*offered, *([wanted] if wanted else [])]):
        yield _tried(artifact, engine, device, wanted)


def engines() -> Finding:
    """Say which engines are installed; those that are not are no fault."""
    installed, missing = [], []
    for name in plugins.names("engines"):
        try:
            plugins.load("engines", name)
        except NanoedgeError:
            missing.append(name)
        else:
            installed.append(name)
    words = f"{', '.join(installed) or 'none'} installed"
    if missing:
        words += f"; not installed: {', '.join(missing)}"
    return ok("engines", words) if installed else fail("engines", words, "pip install onnxruntime")


def _engine(subject: str, artifact: Artifact) -> Iterator[Finding]:
    try:
        engine_for(artifact.manifest.target)
    except NanoedgeError as error:
        target = artifact.manifest.target
        yield fail(subject, str(error), f"convert it for another target, or install what runs {target}")


def _tried(artifact: Artifact, engine: Engine, device: str, wanted: str | None) -> Finding:
    component = artifact.manifest.component(_TRIED)
    began = time.perf_counter()
    try:
        path, threads = artifact.path(component.name), Machine.detect().cores
        with engine.open(path, component, threads=threads, device=device) as session:
            opened = time.perf_counter()
            session.run(inspection.example_inputs(component))
    except NanoedgeError as error:
        if device == wanted:
            return fail(f"device {device}", str(error), "install the device's driver and the onnxruntime wheel for it")
        return warn(f"device {device}", str(error), "it is offered and doesn't work; other devices do")
    now = time.perf_counter()
    return ok(f"device {device}", f"opened in {1e3 * (opened - began):.0f} ms, ran in {1e3 * (now - opened):.0f} ms")
