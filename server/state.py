"""Where a node keeps what outlives its process: API keys, jobs, their pictures."""

from __future__ import annotations

import os
from pathlib import Path


def default_state() -> Path:
    """Return systemd's folder for this service's state, else the user's own one (XDG base directories)."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]  # several are possible; the first is ours
    if given:
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "nanoedge"
