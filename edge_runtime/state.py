"""Where a node keeps what outlives its process: API keys, jobs, their pictures, models; and what can be made again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MODELS: Final = "models"
"""The model store, in the folder for state unless another place is named."""

INSTALLED: Final = Path("/var/lib/nanoedge")
"""The folder for state of the installed service, which is its user's home too."""


def default_state() -> Path:
    """Return systemd's folder for this service's state, else the user's own one (XDG base directories)."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]  # several are possible; the first is ours
    if given:
        return Path(given)
    if os.environ.get("HOME") == str(INSTALLED):  # whoever is the service's user: sudo -u nanoedge nanoedge models list
        return INSTALLED
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "nanoedge"


def default_models() -> Path:
    """Return where models are kept: a folder in `default_state`."""
    return default_state() / MODELS


def default_cache() -> Path:
    """Return the user's folder for what can be made again; raises RuntimeError when nobody's home folder is known."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "nanoedge"
