"""The `nanoedge` command. Results go to stdout, progress and messages to stderr, exit codes come from errors.py.

Verbs are found through the entry points `nanoedge.commands`, so `nanoedge edit` never imports the server or torch,
and an installation without the converter simply lacks `convert`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_runtime import __version__, plugins
from edge_runtime.errors import NanoedgeError, OptionError, UnknownModelError
from edge_runtime.route import DEFAULT_MODEL
from edge_runtime.state import default_models

if TYPE_CHECKING:
    from edge_runtime.plan import Plan

COMMANDS = "nanoedge.commands"


class EntryPointGroup(click.Group):
    """Knows its verbs from installed packages and imports only the one that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all verbs that this installation has; a frozen program names more than it has."""
        return sorted({entry.name for entry in metadata.entry_points(group=COMMANDS) if plugins.has(entry.module)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb; raises MissingExtraError for one that was left out of this program."""
        for entry in metadata.entry_points(group=COMMANDS, name=cmd_name):
            plugins.require(entry.module)
            command: click.Command = entry.load()
            return command
        return None


@click.group(cls=EntryPointGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nanoedge")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens to stderr.")
def cli(verbose: bool) -> None:
    """Edit photos by instruction on small machines."""
    if verbose:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")


@click.command()
@click.argument("instruction")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A model's name or an artifact's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(instruction: str, model: str, as_json: bool) -> None:
    """Say what INSTRUCTION means, without a photo."""
    from edge_runtime.editor import Editor

    with Editor.open(artifact_folder(model)) as editor:
        found = editor.plan(instruction)
    click.echo(json.dumps(found.to_json(), ensure_ascii=False) if as_json else describe(found))


@click.command()
@click.argument("artifact", default=DEFAULT_MODEL)
@click.option("--json", "as_json", is_flag=True, help="Print everything but the family's settings as JSON.")
def inspect(artifact: str, as_json: bool) -> None:
    """Describe an artifact, as its manifest does.

    ARTIFACT is a folder, by default the embedded model. Sizes of files are checked; nothing is run.
    """
    from edge_runtime import inspection
    from edge_runtime.artifact import Artifact

    opened = Artifact.open(artifact_folder(artifact), verify=False)
    click.echo(json.dumps(inspection.to_json(opened), indent=2) if as_json else inspection.described(opened))


@click.command()
@click.argument("artifact", default=DEFAULT_MODEL)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def verify(artifact: str, as_json: bool) -> None:
    """Check an artifact's files and run its graphs.

    ARTIFACT is a folder, by default the embedded model. Every file must have its digest; every graph runs once, on
    small made-up inputs, and must give what the manifest promises.
    """
    from edge_runtime import inspection
    from edge_runtime.artifact import Artifact

    opened = Artifact.open(artifact_folder(artifact))
    try:
        checks = inspection.verify(opened, progress_line)
    finally:
        progress_line("")
    if as_json:
        click.echo(json.dumps(inspection.checks_to_json(opened, checks), indent=2))
    else:
        click.echo(inspection.checks_described(opened, checks))
    inspection.require(checks)


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="Print the lists as JSON.")
def list_plugins(as_json: bool) -> None:
    """List what this program has: families of models, engines, kinds of providers, sources that models come from."""
    found = {kind: plugins.names(kind) for kind in ("families", "engines", "providers", "sources")}
    lines = [f"{kind:<10} {', '.join(names)}" for kind, names in found.items()]
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(lines))


def describe(plan: Plan) -> str:
    """Return a plan in one line: `warmth +0.50, blur +0.50 on background (beyond 0.02)`."""
    edits = ", ".join(
        f"{edit.adjust} {edit.amount:+.2f}"
        + (f" {edit.color}" if edit.color else "")
        + ("" if edit.region == "all" else f" on {edit.region}")
        for edit in plan.edits
    )
    return f"{edits or 'nothing to change'} (beyond {plan.beyond:.2f})"


def main() -> None:
    """Run the command; errors of ours become one line and an exit code."""
    try:
        sys.exit(cli.main(standalone_mode=False))
    except NanoedgeError as error:
        click.echo(f"nanoedge: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("nanoedge: stopped", err=True)
        sys.exit(130)


def progress_line(line: str) -> None:
    """Show a line on stderr; a terminal shows only the last one, and an empty line clears it there."""
    if sys.stderr.isatty():
        click.echo(f"\r{line:<79}\r", nl=False, err=True)
    elif line:
        click.echo(line, err=True)


def artifact_folder(model: str, store: Path | None = None) -> Path:
    """Return the folder of a model: a folder itself, or NAME or NAME@VERSION of the store; raises UnknownModelError.

    `store` is the folder of that, by default the one in the folder for state.
    """
    from edge_runtime.store.layout import Store

    if model != DEFAULT_MODEL and Path(model).is_dir():
        return Path(model)
    try:
        found = Store(store or default_models())
    except RuntimeError:  # a user without a home has no store
        found = Store(Path(os.devnull))
    if model.partition("@")[0] not in (names := found.names()):
        raise UnknownModelError(
            "there is no such model", got=model, allowed=f"{', '.join(names)}, or the folder of an artifact",
            hint="nanoedge models pull brings others into the store",
        )
    return found.find(model).folder


def read_file(path: Path) -> bytes:
    """Return a photo's bytes; raises OptionError when it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise OptionError("the photo can't be read", got=f"{path}: {error.strerror}") from error


def write_file(path: Path, data: bytes) -> None:
    """Write beside the target and rename, so that nothing half-written is ever left in its place."""
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(dir=path.resolve().parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise OptionError("the result can't be written", got=f"{path}: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


if __name__ == "__main__":
    main()
