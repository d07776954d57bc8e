"""Sealing: what comes back, what does not, and the master key's file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_runtime.errors import StateError
from server.sealing import KEY_BYTES, MASTER_KEY, WRAPPED_BYTES, Sealer, sealer_in


def test_only_the_same_owner_role_and_key_open_it() -> None:
    sealer, stranger = Sealer(b"a" * KEY_BYTES), Sealer(b"b" * KEY_BYTES)
    key, other = sealer.new_key("job"), sealer.new_key("job")
    sealed = sealer.seal(key, "job", "image", b"pixels")
    assert len(key) == WRAPPED_BYTES and b"pixels" not in sealed
    assert sealer.open(key, "job", "image", sealed) == b"pixels"
    assert sealer.seal(key, "job", "image", b"pixels") != sealed, "a nonce is used once"
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for opener, wrapped, owner, role, data in (
        (stranger, key, "job", "image", sealed), (sealer, other, "job", "image", sealed),
        (sealer, key, "jobs", "image", sealed), (sealer, key, "job", "mask", sealed),
        (sealer, key, "job", "image", changed), (sealer, key, "job", "image", b""),
        (sealer, b"", "job", "image", sealed),
    ):  # fmt: skip
        with pytest.raises(StateError, match="can't be opened"):
            opener.open(wrapped, owner, role, data)


def test_the_master_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    state = tmp_path / "new" / "state"
    with ThreadPoolExecutor(8) as threads:
        sealers = list(threads.map(lambda _: sealer_in(state), range(8)))
    key = sealers[0].new_key("x")
    sealed = sealers[0].seal(key, "x", "y", b"z")
    assert all(sealer.open(key, "x", "y", sealed) == b"z" for sealer in sealers)
    file = state / MASTER_KEY
    assert [path.name for path in state.iterdir()] == [MASTER_KEY] and file.stat().st_size == KEY_BYTES
    assert file.stat().st_mode & 0o777 == 0o600 and state.stat().st_mode & 0o777 == 0o700


def test_a_key_that_others_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    sealer_in(tmp_path)
    (tmp_path / MASTER_KEY).chmod(0o640)
    with pytest.raises(StateError, match="chmod 600"):
        sealer_in(tmp_path)
    (tmp_path / MASTER_KEY).chmod(0o600)
    (tmp_path / MASTER_KEY).write_bytes(b"short")
    with pytest.raises(StateError, match="5 bytes.*32 bytes"):
        sealer_in(tmp_path)
