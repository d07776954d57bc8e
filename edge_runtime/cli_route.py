"""`nanoedge route`: who would do an edit, and why not the others. Nothing is done and nothing is sent anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edge_runtime.cli import artifact_folder, read_file
from edge_runtime.request import AUTO, DEFAULT_MODEL, EditRequest, Fallback, Size
from edge_runtime.route import Route


@click.command()
@click.argument("photo", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("instruction")
@click.option("--providers", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Remote providers as JSON, as for `nanoedge serve`.")
@click.option("--artifact", "artifacts", multiple=True, metavar="DIR", type=click.Path(path_type=Path),
              help="Consider this artifact too. May be given several times.")
@click.option("--model", default=AUTO, show_default=True, help="A model's or provider's name.")
@click.option("--size", default="auto", show_default=True, help="Fit into this many pixels: 1024 or 1024x768.")
@click.option("--fallback", help="never, allow or only; else what the providers file says.")
@click.option("--deadline", type=float, metavar="SECONDS", help="How long it may take.")
@click.option("--max-cost", type=float, metavar="USD", help="What it may cost.")
@click.option("--json", "as_json", is_flag=True, help="Print the decision as JSON.")
def route(
    photo: Path, instruction: str, providers: Path | None, artifacts: tuple[Path, ...], model: str, size: str,
    fallback: str | None, deadline: float | None, max_cost: float | None, as_json: bool,
) -> None:
    """Say where a photo would be edited, without doing it: nanoedge route photo.jpg "add a hat" """
    from edge_runtime.service import open_service

    request = EditRequest(
        image=read_file(photo), instruction=instruction, model=model, size=Size.parse(size),
        fallback=Fallback.parse(fallback) if fallback else None, deadline_seconds=deadline, max_cost_usd=max_cost,
    )
    service = open_service(artifacts, providers=providers, first=artifact_folder(DEFAULT_MODEL))
    try:
        decision = service.route(request)
    finally:
        service.close()
    click.echo(json.dumps(decision.to_json(), ensure_ascii=False, indent=2) if as_json else _described(decision))


def _described(decision: Route) -> str:
    offer = decision.offer
    lines = [f"{offer.site}: {offer.name} ({offer.model}), because {decision.why}"]
    lines += [f"not {other.offer.name}: {other.why}" for other in decision.rejected]
    return "\n".join(lines)
