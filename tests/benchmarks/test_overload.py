"""The benchmark of overload, short. Bounds leave room for machines that are busy with other things."""

from __future__ import annotations

import http.client

import pytest

from benchmarks.node import started
from benchmarks.overload import Crowd, capacity, overloaded
from benchmarks.table import jpeg, photographs


@pytest.mark.slow
def test_who_gets_in_is_served_in_time_and_the_others_are_told_when() -> None:
    photo = jpeg(photographs(None)["coffee"], 1024)
    with started() as node:
        rate = capacity(node.port, photo, 4.0)
        crowd = Crowd(port=node.port, photo=photo, deadline_seconds=max(2.0, 8 / rate))
        memory = overloaded(node, crowd, 3 * rate, 12.0)
        assert capacity(node.port, photo, 2.0) > 0, "and it goes on"
    assert {visit.status for visit in crowd.visits} <= {200, 503, 504}
    refused = [visit for visit in crowd.visits if visit.status == http.client.SERVICE_UNAVAILABLE]
    accepted = [visit for visit in crowd.visits if visit.status != http.client.SERVICE_UNAVAILABLE]
    done = [visit for visit in accepted if visit.status == http.client.OK]
    in_time = [visit for visit in done if visit.seconds <= crowd.deadline_seconds]
    back = [visit for visit in crowd.visits if visit.back]
    assert refused and all(visit.retry_seconds >= 1 for visit in refused)
    assert len(in_time) > 0.75 * len(accepted)
    assert back and sum(visit.status != http.client.SERVICE_UNAVAILABLE for visit in back) > 0.5 * len(back)
    assert memory[-1] < 1.3 * memory[len(memory) // 3]
