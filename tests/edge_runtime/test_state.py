"""Where state is kept: the service manager's word, the service's own user, the user's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.state import default_models, default_state


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"STATE_DIRECTORY": "/srv/one:/srv/two", "HOME": "/home/me"}, "/srv/one"),
        ({"HOME": "/var/lib/nanoedge", "XDG_STATE_HOME": "/x"}, "/var/lib/nanoedge"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": "/x"}, "/x/nanoedge"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": "relative"}, "/home/me/.local/state/nanoedge"),
        ({"HOME": "/home/me"}, "/home/me/.local/state/nanoedge"),
    ],
)
def test_where_it_is(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str) -> None:
    for name in ("STATE_DIRECTORY", "HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_state() == Path(folder) and default_models() == Path(folder) / "models"
