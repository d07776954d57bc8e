"""Who we are to a registry: from the environment, or from what `docker login` wrote. Nothing is stored here."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import OptionError, SourceError

USER_VARIABLE: Final = "NANOEDGE_REGISTRY_USER"
PASSWORD_VARIABLE: Final = "NANOEDGE_REGISTRY_PASSWORD"
_HUB: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """`environment` is the process's own. What it names counts more than docker's file."""

    environment: Mapping[str, str] = field(repr=False)

    def find(self, host: str) -> tuple[str, str] | None:
        """Return user and password for a registry, None for a guest; raises OptionError for a file that can't be read.

        Passwords that docker keeps in another program (`credsStore`) are not asked for.
        """
        user, password = (self.environment.get(name, "") for name in (USER_VARIABLE, PASSWORD_VARIABLE))
        if user or password:
            return user, password
        names = ("https://index.docker.io/v1/", *_HUB) if host in _HUB else (host, f"https://{host}")
        entries = self._docker().get("auths")
        for name in names:
            entry = entries.get(name) if isinstance(entries, dict) else None
            if isinstance(entry, dict) and (found := _opened(entry)):
                return found
        return None

    def refused(self, host: str, status: int) -> SourceError:
        """Return the error of a registry that doesn't let us in."""
        known = self.find(host) is not None
        return SourceError(
            f"the registry {host} {'does not accept these credentials' if known else 'wants credentials'}",
            got=f"status {status}",
            hint=f"set {USER_VARIABLE} and {PASSWORD_VARIABLE}, or run: docker login {host}",
        )

    @property
    def _file(self) -> Path:
        given = self.environment.get("DOCKER_CONFIG", "")
        home = self.environment.get("HOME", "")
        return (Path(given) if given else Path(home) / ".docker") / "config.json"

    def _docker(self) -> dict[str, Any]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise OptionError("docker's file of credentials can't be read", got=f"{self._file}: {error}") from error
        return found if isinstance(found, dict) else {}


def _opened(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    try:
        user, colon, password = base64.b64decode(str(entry.get("auth") or ""), validate=True).decode().partition(":")
    except ValueError:
        return None
    return (user, password) if colon else None
