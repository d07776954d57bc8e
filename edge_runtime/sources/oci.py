"""A model in an OCI registry: oci://host/repository:tag, or @sha256:... for one that can't change."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, Final

from edge_runtime.canonical_json import MAX_JSON_BYTES
from edge_runtime.errors import SourceError
from edge_runtime.manifest import MANIFEST_FILE, Component, DataFile
from edge_runtime.minisign import MAX_SIGNATURE_BYTES, SUFFIX
from edge_runtime.registry import ARTIFACT_TYPE, TITLE, Address, Blob, Registry
from edge_runtime.registry_login import Login
from edge_runtime.source import SourceOptions

_MAX_LAYERS: Final = 2048


class Oci:
    """`address` is the one above; without TLS it is spelled oci+http://."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        self._address = Address.parse(address, plain_http=options.plain_http)
        self._registry = Registry(self._address, Login(environment=os.environ))
        self._read: dict[str, Blob] | None = None

    def manifest(self) -> bytes:
        """See `Source`."""
        return self._registry.read(self._blob(MANIFEST_FILE), MAX_JSON_BYTES)

    def signature(self) -> bytes | None:
        """See `Source`."""
        name = f"{MANIFEST_FILE}{SUFFIX}"
        return self._registry.read(self._blob(name), MAX_SIGNATURE_BYTES) if name in self._blobs() else None

    def read(self, part: Component | DataFile, offset: int) -> Generator[bytes, None, None]:
        """See `Source`."""
        blob = self._blob(part.file)
        if (blob.digest, blob.bytes) != (f"sha256:{part.sha256}", part.bytes):
            raise SourceError(
                f"registry and manifest differ about {part.file}", got=f"{blob.digest}, {blob.bytes} bytes",
                allowed=f"sha256:{part.sha256}, {part.bytes} bytes", hint="push the model again",
            )
        return self._registry.stream(blob, offset)

    def close(self) -> None:
        """See `Source`."""
        self._registry.close()

    def _blob(self, title: str) -> Blob:
        found = self._blobs().get(title)
        if found is None:
            raise SourceError(f"the model in the registry lacks {title}", got=self._address, hint="push it again")
        return found

    def _blobs(self) -> dict[str, Blob]:
        """Return the layers by title."""
        if self._read is None:
            manifest, _ = self._registry.manifest(self._address.reference)
            if manifest.get("artifactType") != ARTIFACT_TYPE:
                config = manifest.get("config")
                kind = manifest.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
                raise SourceError(
                    "what lies there is no model of nanoedge", got=kind or manifest.get("mediaType"),
                    allowed=ARTIFACT_TYPE, hint="put it there with: nanoedge models push",
                )
            self._read = _layers(manifest.get("layers"))
        return self._read


def _layers(layers: Any) -> dict[str, Blob]:
    if not isinstance(layers, list) or len(layers) > _MAX_LAYERS:
        raise SourceError("the registry's manifest has no usable list of layers")
    found = {}
    for layer in layers:
        try:
            title, digest = layer["annotations"][TITLE], layer["digest"]
            blob = Blob(media_type=layer["mediaType"], digest=digest, bytes=layer["size"], title=title)
        except (TypeError, KeyError) as error:
            raise SourceError("a layer in the registry's manifest is of another form", got=error) from error
        if type(blob.bytes) is not int or not isinstance(digest, str) or not digest.startswith("sha256:"):
            raise SourceError("a layer in the registry's manifest is of another form", got=digest)
        found[str(title)] = blob
    return found


SOURCE = Oci
