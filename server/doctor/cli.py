"""`nanoedge doctor`: options and output. Found through an entry point; imports only click."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from edge_runtime.state import default_state


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option(
    "--model", "models", multiple=True, metavar="DIR", type=click.Path(path_type=Path),
    help="Examine this artifact too. May be given several times.",
)
@click.option(
    "--providers", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Read this file of remote providers, and ask whether each can be reached.",
)
@click.option(
    "--state", type=click.Path(path_type=Path), metavar="DIR", default=default_state,
    help="The folder for what outlives the process. Default: as `nanoedge serve`.",
)
@click.option(
    "--model-store", type=click.Path(path_type=Path), metavar="DIR", help="The model store. Default: models in --state."
)
@click.option(
    "--model-keys", type=click.Path(path_type=Path), metavar="FILE",
    help="Public keys that sign its models. Default: trusted.pub in the store.",
)
@click.option("--device", metavar="NAME", help="Insist on this device, such as cuda.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def doctor(
    context: click.Context, host: str, port: int, models: tuple[Path, ...], providers: Path | None, state: Path,
    model_store: Path | None, model_keys: Path | None, device: str | None, as_json: bool,
) -> None:
    """Look for what is wrong here, and say how to mend it. Exits with 1 when something is."""
    from server.doctor.finding import Status
    from server.doctor.report import Patient, examine, row, summary

    patient = Patient(
        host=host, port=port, state=state, models=models, providers=providers, device=device, model_store=model_store,
        model_keys=model_keys,
    )
    findings = []
    for finding in examine(patient):
        findings.append(finding)
        if not as_json:
            click.echo(row(finding))
    click.echo(json.dumps([asdict(finding) for finding in findings], indent=2) if as_json else f"\n{summary(findings)}")
    if any(finding.status is Status.FAIL for finding in findings):
        context.exit(1)
