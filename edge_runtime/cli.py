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
from typing import Any

import click

from edge_runtime import __version__
from edge_runtime.artifact import Artifact
from edge_runtime.errors import NanoedgeError, OptionError, PlanError, UnknownModelError
from edge_runtime.plan import Plan
from edge_runtime.request import DEFAULT_MODEL, EditRequest, EditResult, Size

COMMANDS = "nanoedge.commands"
_FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp"}


class EntryPointGroup(click.Group):
    """Knows its verbs from installed packages and imports only the one that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all installed verbs."""
        return sorted({entry.name for entry in metadata.entry_points(group=COMMANDS)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        for entry in metadata.entry_points(group=COMMANDS, name=cmd_name):
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
@click.argument("photo", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("instruction", required=False)
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
              help="Where the result goes: .jpg, .png or .webp.")
@click.option("--plan", "plan_json", help="An edit plan as JSON (or @FILE) instead of an instruction.")
@click.option("--mask", type=click.Path(dir_okay=False, path_type=Path),
              help="A picture that is transparent, or white on black, where the edit belongs.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A model's name or an artifact's folder.")
@click.option("--size", default="auto", show_default=True, help="Fit into this many pixels: 1024 or 1024x768.")
@click.option("--quality", default=90, show_default=True, help="JPEG and WebP quality, 1 to 100.")
@click.option("--json", "as_json", is_flag=True, help="Print plan, model, times and warnings as JSON.")
def edit(
    photo: Path, instruction: str | None, output: Path, plan_json: str | None, mask: Path | None, model: str, size: str,
    quality: int, as_json: bool,
) -> None:
    """Edit PHOTO as INSTRUCTION says: nanoedge edit photo.jpg "warmer, blur the background" -o out.jpg"""
    request = EditRequest(
        image=_read(photo), mask=None if mask is None else _read(mask), instruction=instruction,
        plan=None if plan_json is None else _plan_data(plan_json), size=Size.parse(size),
        output_format=_output_format(output), quality=quality,
    )
    result = _run(request, model)
    _write(output, result.image)
    if as_json:
        click.echo(json.dumps(_report(result), ensure_ascii=False, indent=2))
    else:
        click.echo(f"{output}: {result.width}x{result.height}, {describe(result.plan)}")
    for warning in result.warnings:
        click.echo(f"note: {warning}", err=True)


@click.command()
@click.argument("instruction")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A model's name or an artifact's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(instruction: str, model: str, as_json: bool) -> None:
    """Say what INSTRUCTION means, without a photo."""
    from edge_runtime.editor import Editor

    with Editor.open(_artifact_folder(model)) as editor:
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

    opened = Artifact.open(_artifact_folder(artifact), verify=False)
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

    opened = Artifact.open(_artifact_folder(artifact))
    try:
        checks = inspection.verify(opened, _progress)
    finally:
        _progress("")
    if as_json:
        click.echo(json.dumps(inspection.checks_to_json(opened, checks), indent=2))
    else:
        click.echo(inspection.checks_described(opened, checks))
    inspection.require(checks)


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


def _run(request: EditRequest, model: str) -> EditResult:
    from edge_runtime.editor import Editor

    with Editor.open(_artifact_folder(model)) as editor:
        return editor.edit(request)


def _progress(line: str) -> None:
    """Show a line on stderr; a terminal shows only the last one, and an empty line clears it there."""
    if sys.stderr.isatty():
        click.echo(f"\r{line:<79}\r", nl=False, err=True)
    elif line:
        click.echo(line, err=True)


def _artifact_folder(model: str) -> Path:
    from edge_runtime.editor import EMBEDDED

    if model == DEFAULT_MODEL:
        return EMBEDDED
    if Path(model).is_dir():
        return Path(model)
    allowed = f"{DEFAULT_MODEL}, or the folder of an artifact"
    raise UnknownModelError("there is no such model", got=model, allowed=allowed)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OptionError("the photo can't be read", got=f"{path}: {error.strerror}") from error


def _plan_data(text: str) -> dict[str, Any]:
    try:
        data = json.loads(_read(Path(text[1:])) if text.startswith("@") else text)
    except ValueError as error:
        raise PlanError("the plan is not JSON", got=text, hint=str(error)) from error
    if not isinstance(data, dict):
        raise PlanError("a plan must be an object with a list 'edits'", got=text)
    return data


def _output_format(path: Path) -> str:
    if path.suffix.lower() not in _FORMATS:
        raise OptionError("the output's ending names no format", got=path.name, allowed=", ".join(_FORMATS))
    if not path.resolve().parent.is_dir():
        raise OptionError("the output's folder doesn't exist", got=path.parent, hint="create it first")
    return _FORMATS[path.suffix.lower()]


def _write(path: Path, data: bytes) -> None:
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


def _report(result: EditResult) -> dict[str, Any]:
    seconds = {stage: round(value, 4) for stage, value in result.seconds.items()}
    return {
        "width": result.width, "height": result.height, "media_type": result.media_type,
        "plan": result.plan.to_json(), "model": result.model, "version": result.version, "seconds": seconds,
        "warnings": list(result.warnings),
    }


if __name__ == "__main__":
    main()
