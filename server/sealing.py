"""Encryption of what is kept: AES-256-GCM with a key for every job or picture, wrapped by the node's master key.

A sealed part is bound to what it belongs to and to its role there, so parts can't be exchanged. Without its wrapped key
nothing of a job can be read again: deleting that is deleting all of it.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_runtime.errors import StateError
from server.room import kept_error

if TYPE_CHECKING:
    from Cryptodome.Cipher._mode_gcm import GcmMode

MASTER_KEY: Final = "master.key"
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
WRAPPED_BYTES: Final = _NONCE_BYTES + KEY_BYTES + _TAG_BYTES
_KEY_ROLE: Final = "key"


class Sealer:
    """Seals and opens by one master key of 32 bytes. Safe to share between threads."""

    def __init__(self, master: bytes) -> None:
        self._master = master

    def new_key(self, owner: str) -> bytes:
        """Return a fresh key for `owner`, wrapped: WRAPPED_BYTES to keep beside what it seals."""
        return self._sealed(self._master, owner, _KEY_ROLE, secrets.token_bytes(KEY_BYTES))

    def seal(self, wrapped: bytes, owner: str, role: str, data: bytes) -> bytes:
        """Encrypt a part of `owner`, under a nonce of its own."""
        return self._sealed(self._key(wrapped, owner), owner, role, data)

    def open(self, wrapped: bytes, owner: str, role: str, sealed: bytes) -> bytes:
        """Decrypt a part; raises StateError when it was changed, belongs elsewhere, or the master key is another."""
        return self._opened(self._key(wrapped, owner), owner, role, sealed)

    def signature(self, text: str) -> str:
        """Return the hexadecimal HMAC-SHA256 of a text, by a key that serves for nothing else."""
        key = hmac.digest(self._master, b"signatures", "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()

    def _key(self, wrapped: bytes, owner: str) -> bytes:
        return self._opened(self._master, owner, _KEY_ROLE, wrapped)

    def _sealed(self, key: bytes, owner: str, role: str, data: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = _cipher(key, nonce, owner, role)
        return b"".join((nonce, *cipher.encrypt_and_digest(data)))

    def _opened(self, key: bytes, owner: str, role: str, sealed: bytes) -> bytes:
        nonce, text, tag = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:-_TAG_BYTES], sealed[-_TAG_BYTES:]
        try:
            return _cipher(key, nonce, owner, role).decrypt_and_verify(text, tag)
        except ValueError as error:
            raise StateError(
                "something that was kept can't be opened", got=role,
                hint=f"was it changed, or is {MASTER_KEY} another one than it was kept with?",
            ) from error


def _cipher(key: bytes, nonce: bytes, owner: str, role: str) -> GcmMode:
    """Return AES-GCM for one part, which is bound to its owner and role."""
    from Cryptodome.Cipher import AES  # a tenth of the server's start, for nodes that keep nothing too

    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce, mac_len=_TAG_BYTES)
    cipher.update(f"{owner}:{role}".encode())
    return cipher


def sealer_in(state: Path) -> Sealer:
    """Return the sealer of a state folder, whose master key is made there, readable for its owner alone, if missing.

    Raises StateError for a key of another length or that others may read.
    """
    path = state / MASTER_KEY
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make_key(path)
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise StateError("others may read the master key", got=path, hint=f"run: chmod 600 {path}")
        key = path.read_bytes()
    except OSError as error:
        raise kept_error("the master key can't be read or made", path, error) from error
    if len(key) != KEY_BYTES:
        raise StateError("the master key is damaged", got=f"{len(key)} bytes", allowed=f"{KEY_BYTES} bytes")
    return Sealer(key)


def _make_key(path: Path) -> None:
    """Write a key whole or not at all; where two processes do so at once, both use the first one's."""
    own = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(own, path)
    finally:
        own.unlink(missing_ok=True)
