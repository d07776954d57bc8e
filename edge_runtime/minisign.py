"""Signatures of minisign: Ed25519 over the BLAKE2b-512 of a file. Checked only; who signs uses minisign itself.

The format is that of https://jedisct1.github.io/minisign/. The older one ("Ed"), which signs the file itself, is
refused.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge_runtime.errors import OptionError, SignatureError

SUFFIX: Final = ".minisig"
MAX_SIGNATURE_BYTES: Final = 16 * 1024
_KEY_ALGORITHM, _PREHASHED, _LEGACY = b"Ed", b"ED", b"Ed"
_UNTRUSTED: Final = "untrusted comment:"
_TRUSTED: Final = "trusted comment: "
_ID_BYTES: Final = 8
_KEY_BYTES: Final = 2 + _ID_BYTES + 32
_SIGNATURE_BYTES: Final = 2 + _ID_BYTES + 64
_HOW: Final = "sign it with: minisign -Sm manifest.json"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Whose signatures are accepted."""

    id: bytes
    key: bytes

    def __str__(self) -> str:
        """Return the identifier as minisign shows it."""
        return f"{int.from_bytes(self.id, 'little'):X}"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a `.minisig` file holds, once it has been checked."""

    key: PublicKey
    comment: str


def public_keys(text: str, where: object) -> tuple[PublicKey, ...]:
    """Read public keys, one a line, as minisign writes them; its comments and lines with # don't count.

    Raises OptionError, also when there is none.
    """
    lines = [line.strip() for line in text.splitlines()]
    keys = [_public_key(line, where) for line in lines if line and not line.startswith((_UNTRUSTED, "#"))]
    if not keys:
        raise OptionError("there is no public key in this file", got=where, hint="minisign -G makes minisign.pub")
    return tuple(keys)


def check(message: bytes, signature: bytes, keys: Sequence[PublicKey]) -> Signature:
    """Return the signature of `message` when one of `keys` made it, comment included; raises SignatureError."""
    signed, comment, over_all = _parsed(signature)
    algorithm, key_id, proof = signed[:2], signed[2 : 2 + _ID_BYTES], signed[2 + _ID_BYTES :]
    if algorithm == _LEGACY:
        raise SignatureError("the signature is of minisign's older form", allowed="prehashed (ED)", hint=_HOW)
    if algorithm != _PREHASHED:
        raise SignatureError("the signature is of no known form", got=algorithm, allowed="ED", hint=_HOW)
    key = next((one for one in keys if one.id == key_id), None)
    if key is None:
        raise SignatureError(
            "it is signed by a key that is not trusted here", got=str(PublicKey(key_id, b"")),
            allowed=", ".join(map(str, keys)), hint="add the signer's public key if you trust it",
        )
    if not _holds(key, hashlib.blake2b(message).digest(), proof):
        raise SignatureError("the signature is not of this manifest", hint="it was changed after it was signed")
    if not _holds(key, proof + comment.encode(), over_all):
        raise SignatureError("the signature's comment was changed", got=comment, hint=_HOW)
    return Signature(key, comment)


def _public_key(line: str, where: object) -> PublicKey:
    data = _decoded(line)
    if len(data) != _KEY_BYTES or data[:2] != _KEY_ALGORITHM:
        raise OptionError(f"a line of {where} is no public key of minisign", got=line)
    return PublicKey(data[2 : 2 + _ID_BYTES], data[2 + _ID_BYTES :])


def _parsed(signature: bytes) -> tuple[bytes, str, bytes]:
    """Return the signature with its head, the trusted comment, and the signature over both."""
    try:
        untrusted, signed, trusted, over_all = signature[:MAX_SIGNATURE_BYTES].decode().splitlines()[:4]
    except ValueError as error:
        raise SignatureError("the signature has not the four lines of minisign", hint=_HOW) from error
    first, last = _decoded(signed), _decoded(over_all)
    if not untrusted.startswith(_UNTRUSTED) or not trusted.startswith(_TRUSTED):
        raise SignatureError("the signature lacks minisign's comments", hint=_HOW)
    if len(first) != _SIGNATURE_BYTES or len(last) != 64:
        raise SignatureError("the signature is cut off", hint=_HOW)
    return first, trusted[len(_TRUSTED) :], last


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _holds(key: PublicKey, message: bytes, proof: bytes) -> bool:
    # Imported here: most nodes have no keys for models.
    from Cryptodome.Signature import eddsa

    verifier = eddsa.new(eddsa.import_public_key(key.key), "rfc8032")
    try:
        verifier.verify(message, proof)
    except ValueError:
        return False
    return True
