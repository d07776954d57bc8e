"""How much is kept: the oldest goes, whoever keeps most loses first, and operators see it."""

from __future__ import annotations

import os
import re
from collections import Counter
from io import BytesIO
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import FullError, UnknownError
from server.quota import DEFAULT_BYTES, Kept, Quota, outdated
from server.results import Results
from tests.server.test_results import Made, made  # noqa: F401 - a fixture

KEPT = st.lists(st.builds(
    Kept, name=st.uuids().map(str), caller=st.sampled_from("abc"), since=st.floats(0, 1e9), bytes=st.integers(1, 50)
), unique_by=lambda one: one.name, max_size=20)  # fmt: skip


@given(KEPT, st.sampled_from("abcd"), st.integers(0, 60), st.integers(1, 300), st.none() | st.integers(1, 300))
def test_what_goes(kept: list[Kept], caller: str, coming: int, total: int, per_caller: int | None) -> None:
    quota = Quota(total=total, per_caller=per_caller)
    gone = list(outdated(kept, caller, coming, quota))
    assert len({one.name for one in gone}) == len(gone) and set(gone) <= set(kept)
    left = Counter({caller: coming})
    for one in set(kept) - set(gone):
        left[one.caller] += one.bytes
    fits = coming <= quota.of_one
    assert not fits or (left[caller] <= quota.of_one and left.total() <= quota.total)
    for one in gone:
        assert all(other.since >= one.since for other in set(kept) - set(gone) if other.caller == one.caller)
    before = Counter({caller: coming})
    for one in kept:
        before[one.caller] += one.bytes
    if before[caller] <= quota.of_one and before.total() <= quota.total:
        assert not gone, "nothing without need"


def test_nobody_is_pushed_out_by_who_keeps_more() -> None:
    kept = [Kept(name="small", caller="a", since=1, bytes=10)]
    kept += [Kept(name=str(number), caller="b", since=2 + number, bytes=10) for number in range(9)]
    assert [one.name for one in outdated(kept, "b", 25, Quota(total=100))] == ["0", "1", "2"]
    assert [one.name for one in outdated(kept, "a", 25, Quota(total=100))] == ["0", "1", "2"]


def put(results: Results, caller: str, number: int, size: int = 10_000) -> str:
    """Store a picture that is so many seconds younger than the first."""
    address = results.put(caller, bytes([number]) * size, "image/png")
    (file,) = Path(results._where).glob(f"*/{address[7:]}")  # noqa: SLF001
    os.utime(file, (1e9 + number, 1e9 + number))
    return address


def test_the_oldest_results_go(tmp_path: Path) -> None:
    results = Results(None, tmp_path, 1e12, Quota(total=45_000, per_caller=32_000))
    addresses = [put(results, "anna", number) for number in range(3)]
    others = put(results, "berta", 50)
    assert 40_000 < results.kept_bytes() < 45_000
    addresses.append(put(results, "anna", 3))
    with pytest.raises(UnknownError, match="expired"):
        results.get("anna", addresses[0])
    assert [results.get("anna", one)[:1] for one in addresses[1:]] == [b"\1", b"\2", b"\3"]
    put(results, "berta", 51)
    with pytest.raises(UnknownError):
        results.get("anna", addresses[1])
    assert results.get("berta", others) and results.kept_bytes() <= 45_000
    with pytest.raises(FullError, match="larger than all that may be kept.*0.1 MB.*0.0 MB"):
        put(results, "anna", 60, 60_000)
    again = Results(None, tmp_path, 1e12, Quota(total=45_000))
    assert again.kept_bytes() == results.kept_bytes(), "counted anew by another process"


def test_a_result_beyond_the_quota_is_answered_without_an_address(made: Made, photo: bytes) -> None:  # noqa: F811
    client = made(quota=Quota(total=1000))
    answer = client.post("/edit", data={"image": (BytesIO(photo), "p.jpg"), "instructions": "warmer", "store": "true"})
    told = answer.get_json()
    assert answer.status_code == 200 and told["image_base64"] and "address" not in told
    assert "larger than all that may be kept" in told["warnings"][-1]


def metric(client: FlaskClient, name: str, what: str) -> float:
    text = client.get("/metrics").text
    found = re.search(rf'^{name}{{what="{what}"}} (\S+)$', text, re.MULTILINE)
    assert found, text
    return float(found[1])


def test_metrics_say_how_much_is_kept(made: Made, photo: bytes) -> None:  # noqa: F811
    client = made()
    assert metric(client, "imgedit_kept_bytes", "results") == metric(client, "imgedit_kept_bytes", "jobs") == 0
    stored = client.post("/edit", data={"image": (BytesIO(photo), "p.jpg"), "instructions": "warmer", "store": "true"})
    assert stored.status_code == 200
    assert metric(client, "imgedit_kept_bytes", "results") > 10_000
    assert metric(client, "imgedit_kept_limit_bytes", "results") == DEFAULT_BYTES
