"""`nanoedge install` and `nanoedge uninstall`. Found through entry points; imports only click."""

from __future__ import annotations

from pathlib import Path

import click

_root = click.option(
    "--root", type=click.Path(file_okay=False, exists=True, resolve_path=True, path_type=Path), default=Path("/"),
    metavar="DIR", help="Install into the system whose files are there, such as a mounted image.",
)


@click.command()
@_root
@click.argument("options", nargs=-1, metavar="[-- SERVE_OPTIONS]")
def install(root: Path, options: tuple[str, ...]) -> None:
    """Install this program as a service of systemd, with a user of its own, and start it.

    What follows -- is given to `nanoedge serve`: nanoedge install -- --port 9000
    """
    from server import installation

    installation.install(installation.System(root=root), options, _say)


@click.command()
@_root
@click.option("--purge", is_flag=True, help="Remove its settings, its state and its user too.")
def uninstall(root: Path, purge: bool) -> None:
    """Stop the service, and take away what `nanoedge install` made."""
    from server import installation

    installation.uninstall(installation.System(root=root), purge=purge, say=_say)


def _say(line: str) -> None:
    click.echo(line, err=True)
