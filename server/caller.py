"""Who asks: the name under which quotas, spending and jobs are kept. Whoever authenticates sets it."""

from __future__ import annotations

from flask import g

ANYBODY = "anybody"


def set_caller(name: str) -> None:
    """Say, once per request, whose it is: the identifier of an API key."""
    g.caller = name


def caller() -> str:
    """Return whose request this is; ANYBODY on a node without keys."""
    return str(g.get("caller", ANYBODY))
