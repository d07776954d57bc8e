"""Bringing an artifact from a folder to a registry: files that it has aren't sent again, digests are compared."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edge_runtime.artifact import Artifact, locate
from edge_runtime.errors import OptionError, SourceError
from edge_runtime.manifest import MANIFEST_FILE
from edge_runtime.minisign import SUFFIX
from edge_runtime.registry import (
    ARTIFACT_TYPE,
    EMPTY,
    EMPTY_CONFIG,
    FILE_LAYER,
    IMAGE_MANIFEST,
    MANIFEST_LAYER,
    SIGNATURE_LAYER,
    Blob,
    Registry,
    digest_of,
)

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push came to: the digest to pull by, how many bytes were sent and how many the registry had."""

    digest: str
    sent_bytes: int
    there_bytes: int


def push(folder: Path, registry: Registry, progress: Progress = lambda done, total: None) -> Pushed:
    """Put the artifact in `folder`, and its signature if it has one, into a registry, under the address's tag.

    Raises ArtifactError for a damaged artifact, before anything is sent, and SourceError.
    """
    if registry.address.reference.startswith("sha256:"):
        raise OptionError("a push goes to a tag", got=registry.address, allowed="oci://host/repository:tag")
    artifact = Artifact.open(folder)
    config = Blob(media_type=EMPTY_CONFIG, digest=digest_of(EMPTY), bytes=len(EMPTY))
    layers = _layers(artifact)
    total = sum(blob.bytes for blob in layers)
    done = sent = 0

    def tell(count: int) -> None:
        nonlocal sent
        sent += count
        progress(done + sent, total)

    for blob in (config, *layers):
        if registry.has(blob):
            done += blob.bytes
            progress(done + sent, total)
            continue
        with ExitStack() as stack:
            file: IO[bytes] = io.BytesIO(EMPTY)
            if blob.title:
                file = stack.enter_context(locate(artifact.folder, blob.title).open("rb"))
            registry.put(blob, file, tell)
    digest = registry.put_manifest(_manifest(artifact, config, layers))
    if registry.manifest(digest)[1] != digest or registry.manifest(registry.address.reference)[1] != digest:
        raise SourceError("the registry gives out another manifest than it was sent", allowed=digest)
    return Pushed(digest=digest, sent_bytes=sent, there_bytes=done)


def _layers(artifact: Artifact) -> Sequence[Blob]:
    layers = [_measured(artifact.folder, MANIFEST_FILE, MANIFEST_LAYER)]
    signature = f"{MANIFEST_FILE}{SUFFIX}"
    if (artifact.folder / signature).exists():
        layers.append(_measured(artifact.folder, signature, SIGNATURE_LAYER))
    for part in artifact.manifest.files:
        layers.append(Blob(
            media_type=FILE_LAYER, digest=f"sha256:{part.sha256}", bytes=part.bytes, title=part.file
        ))  # fmt: skip
    return layers


def _measured(folder: Path, name: str, media_type: str) -> Blob:
    data = locate(folder, name).read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Blob(media_type=media_type, digest=digest, bytes=len(data), title=name)


def _manifest(artifact: Artifact, config: Blob, layers: Sequence[Blob]) -> dict[str, object]:
    manifest = artifact.manifest
    return {
        "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": ARTIFACT_TYPE, "config": config.to_json(),
        "layers": [blob.to_json() for blob in layers],
        "annotations": {
            "org.opencontainers.image.title": manifest.name, "org.opencontainers.image.version": artifact.version,
            "org.opencontainers.image.description": f"{manifest.family}, {manifest.recipe}, {manifest.target}",
        },
    }  # fmt: skip
