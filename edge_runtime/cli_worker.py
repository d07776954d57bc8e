"""`nanoedge worker`, which nobody types: how a frozen program starts its children. From source they need no command."""

from __future__ import annotations

import click


@click.command(hidden=True)
@click.argument("role", type=click.Choice(["editor", "decoder"]))
def worker(role: str) -> None:
    """Serve the process that started this one."""
    from edge_runtime.worker import main

    main(role)
