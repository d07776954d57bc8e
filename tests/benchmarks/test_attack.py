"""The promise that an attack leaves health checks under 100 ms, kept by a real server."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.attack import ATTACKS, attacked, health_milliseconds, under_wrk
from tests.server.started import started_server

SOCKETS = 900
PROMISED_MILLISECONDS = 100

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ATTACKS)
def test_sockets_that_say_next_to_nothing(name: str) -> None:
    """The best of three rounds: other work on the machine slows single ones."""
    with started_server() as server, attacked(server.port, SOCKETS, ATTACKS[name]) as attack:
        rounds = []
        for _ in range(3):
            rounds.append(float(np.percentile(health_milliseconds(server.port, 60), 95)))
            assert attack.held > 0.9 * SOCKETS
            if rounds[-1] < PROMISED_MILLISECONDS:
                break
    assert min(rounds) < PROMISED_MILLISECONDS, rounds


@pytest.mark.parametrize("path", ["/healthz", "/v1/models"])
def test_wrk(path: str) -> None:
    """wrk has most of a core, and the server the rest: under 20 ms on quiet cores."""
    rounds = []
    with started_server() as server:
        for _ in range(3):
            row = under_wrk(server.port, 60, path, seconds=4)
            assert row is not None, "wrk is not installed (Debian: apt install wrk)"
            assert int(row[0].split(": ")[1].split()[0]) > 100, row
            rounds.append(float(row[3]))
            if rounds[-1] < PROMISED_MILLISECONDS:
                break
    assert min(rounds) < PROMISED_MILLISECONDS, rounds
