"""Whether a version may be used: whole, of its own digest, signed where that is asked for, and able to run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_runtime import inspection
from edge_runtime.artifact import Artifact, locate
from edge_runtime.editor import Editor
from edge_runtime.errors import ArtifactError, OptionError, SignatureError
from edge_runtime.manifest import MANIFEST_FILE
from edge_runtime.minisign import MAX_SIGNATURE_BYTES, SUFFIX, PublicKey, check, public_keys
from edge_runtime.store.layout import TRUSTED_KEYS, Store
from edge_runtime.store.version import EMBEDDED_VERSION, Version


def trusted_keys(store: Store, file: Path | None = None) -> tuple[PublicKey, ...]:
    """Return the keys of which one must have signed every version: of `file`, else of the store's own `trusted.pub`.

    Empty when neither is there: then no signature is asked for. Raises OptionError for a file that can't be used.
    """
    path = file or store.folder / TRUSTED_KEYS
    try:
        return public_keys(path.read_text(encoding="utf-8"), path)
    except (FileNotFoundError, NotADirectoryError):
        if file is None:
            return ()
        raise OptionError("there is no file of trusted keys at this path", got=path) from None
    except (OSError, ValueError) as error:
        raise OptionError("the file of trusted keys can't be read", got=f"{path}: {error}") from error


def check_signature(manifest: bytes, signature: bytes | None, keys: Sequence[PublicKey]) -> None:
    """Raise SignatureError unless one of `keys` signed the manifest; without keys anything goes."""
    if not keys:
        return
    if signature is None:
        raise SignatureError(
            "this model is not signed, and this store takes signed ones only", got=f"no {MANIFEST_FILE}{SUFFIX}",
            allowed=f"signed by {', '.join(map(str, keys))}",
            hint=f"its maker signs it with: minisign -Sm {MANIFEST_FILE}",
        )
    check(manifest, signature, keys)


def check_whole(version: Version, keys: Sequence[PublicKey]) -> Artifact:
    """Read a version from its first byte to its last; raises ArtifactError or SignatureError."""
    check_named(version, keys)
    return Artifact.open(version.folder)


def check_named(version: Version, keys: Sequence[PublicKey]) -> None:
    """Raise what `check_whole` does of the manifest alone, which names the digests of all files."""
    if version.digest == EMBEDDED_VERSION:
        return
    encoded = locate(version.folder, MANIFEST_FILE).read_bytes()
    digest = hashlib.sha256(encoded).hexdigest()
    if digest != version.digest:
        raise ArtifactError(
            f"the manifest of {version} is another one than it was", got=digest, allowed=version.digest,
            hint="remove this version and pull it again",
        )
    check_signature(encoded, _signature(version.folder), keys)


def check_runs(
    version: Version, keys: Sequence[PublicKey], progress: Callable[[str], None] = lambda line: None
) -> None:
    """Raise what keeps a version from being used: `check_whole`, its family, and one run of every graph."""
    artifact = check_whole(version, keys)
    with Editor.open(version.folder, verify=False):
        pass
    inspection.require(inspection.verify(artifact, progress))


def _signature(folder: Path) -> bytes | None:
    name = f"{MANIFEST_FILE}{SUFFIX}"
    if not (folder / name).exists():
        return None
    with locate(folder, name).open("rb") as file:
        return file.read(MAX_SIGNATURE_BYTES)
