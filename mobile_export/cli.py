"""`nanoedge export PLATFORM ARTIFACT -o FOLDER`. The verb composes what this package may not do itself: golden vectors
come from `edge_runtime.golden`, which runs the artifact; everything below only reads it.
"""

from __future__ import annotations

from pathlib import Path

import click

from edge_runtime import plugins
from edge_runtime.artifact import Artifact
from mobile_export import sizes
from mobile_export.bundle import export
from mobile_export.platform import KIND, Order, Platform


class Platforms(click.Group):
    """Knows the platforms by the names of their files and imports only the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all platforms."""
        return list(plugins.names(KIND))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one platform and make a command of it, with its own options."""
        if cmd_name not in plugins.names(KIND):
            return None
        platform: Platform = plugins.load(KIND, cmd_name)
        return _command(platform)


@click.command(cls=Platforms)
def export_command() -> None:
    """Write an artifact as a folder for an app's build."""


def _command(platform: Platform) -> click.Command:
    def run(artifact: str, output: Path, golden_from: str | None, **options: str | None) -> None:
        given = {name: value for name in platform.options if (value := options[name.replace("-", "_")]) is not None}
        _export(platform, Order(artifact=_opened(artifact), options=given), output, golden_from)

    params: list[click.Parameter] = [
        click.Argument(["artifact"]),
        click.Option(["-o", "--output"], required=True, type=click.Path(path_type=Path), help="The new folder."),
        click.Option(
            ["--golden-from"], metavar="ARTIFACT",
            help="Another artifact of the same model, whose results are the expected ones of the bundle's tests. "
            "Default: the exported one where an engine here runs it, else the embedded model.",
        ),
        *(click.Option([f"--{name}"], help=text) for name, text in platform.options.items()),
    ]
    return click.Command(platform.name, params=params, callback=run, help=platform.summary)


def _export(platform: Platform, order: Order, output: Path, golden_from: str | None) -> None:
    from edge_runtime import golden  # imported here: `nanoedge export --help` needs no engine

    source = golden.source(order.artifact, _opened(golden_from) if golden_from else None)
    bundle = export(platform, order, output, lambda folder: golden.write(source, folder))
    click.echo(f"{bundle.folder}\n\n{sizes.table(bundle.sizes)}")


def _opened(artifact: str) -> Artifact:
    from edge_runtime.cli import artifact_folder

    return Artifact.open(artifact_folder(artifact))



if __name__ == "__main__":
    export_command(prog_name="nanoedge export")
