"""`nanoedge serve`: options, one line when it listens, exit codes. Found through an entry point; imports only click."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import click

from edge_runtime.state import default_state
from server.config import IDLE_SECONDS
from server.quota import DEFAULT_BYTES, MEGABYTE, Quota

Network = IPv4Network | IPv6Network


def _networks(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(text) for text in given)
    except ValueError as error:
        raise click.BadParameter(f"{error}. Allowed: for example 10.1.0.0/16") from error


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--model", "models", multiple=True, metavar="DIR", type=click.Path(path_type=Path),
    help="Serve this artifact too. May be given several times.",
)
@click.option(
    "--model-store", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Serve the active models of this store (nanoedge models). Default: models in --state.",
)
@click.option(
    "--model-keys", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="minisign's public keys, one of which must have signed each of those. Default: trusted.pub in the store.",
)
@click.option("--threads", type=click.IntRange(1, 64), help="Threads of the engine. Default: the cores.")
@click.option(
    "--providers", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Remote providers as JSON; without it nothing leaves this machine.",
)
@click.option(
    "--role", type=click.Choice(["edge", "central"]), default="edge", show_default=True,
    help="central: does for edges what they can't, and sends nothing on.",
)
@click.option(
    "--device", default="cpu", show_default=True, metavar="NAME",
    help="Where --model artifacts run: cpu, cuda, tensorrt, openvino ... Another one in its place is an error.",
)
@click.option(
    "--idle-seconds", type=click.FloatRange(0), default=IDLE_SECONDS, show_default=True,
    help="Unload a --model that nobody used for so long; 0: never.",
)
@click.option("--in-process", is_flag=True, hidden=True, help="Run the models without child processes.")
@click.option("--behind-proxy", is_flag=True, help="A proxy in front ends TLS. Without API keys a first one is made.")
@click.option("--insecure-public", is_flag=True, help="Allow an address that other machines reach, without TLS.")
@click.option(
    "--allow-origin", "origins", multiple=True, metavar="ORIGIN",
    help="Let this browser extension use the server: chrome-extension://ID. May be given several times.",
)
@click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", default=default_state,
    help="What outlives the process: keys, jobs. Default: nanoedge in the user's folder for state.",
)
@click.option(
    "--log", "log_form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="Warnings as text, or those and every request as JSON lines.",
)
@click.option("--traces", metavar="URL", help="Send OpenTelemetry traces there: http://localhost:4318/v1/traces.")
@click.option(
    "--store", metavar="PLACE", help="Keep results in this folder or s3://bucket/prefix. Default: a folder in --state.",
)
@click.option(
    "--keep-hours", default=24.0, show_default=True, type=click.FloatRange(min=0.01),
    help="How long results and ended jobs are kept.",
)
@click.option(
    "--keep-mb", default=DEFAULT_BYTES // MEGABYTE, show_default=True, type=click.IntRange(min=1),
    help="The most that results may take, and jobs again. The oldest go first.",
)
@click.option(
    "--keep-mb-per-key", type=click.IntRange(min=1), help="The most for one API key. Default: no limit of its own.",
)
@click.option(
    "--webhook-network", "networks", multiple=True, metavar="NETWORK", callback=_networks,
    help="Let webhooks go to this network too, such as 10.1.0.0/16. May be given several times.",
)
@click.pass_context
def serve(
    context: click.Context, /, host: str, port: int, behind_proxy: bool, insecure_public: bool,
    origins: tuple[str, ...], role: str, log_form: str, keep_hours: float, keep_mb: int, keep_mb_per_key: int | None,
    networks: tuple[Network, ...], **settings: Any,
) -> None:
    """Serve the API and the web page until SIGTERM or Ctrl-C."""
    from edge_runtime.errors import NanoedgeError
    from server import logs
    from server.config import Role, ServerConfig
    from server.serve import Address
    from server.serve import serve as run

    logs.begin(logs.LogForm(log_form))
    quota = Quota(
        total=keep_mb * MEGABYTE, per_caller=None if keep_mb_per_key is None else keep_mb_per_key * MEGABYTE
    )
    address = Address(host=host, port=port, insecure_public=insecure_public, behind_proxy=behind_proxy)
    try:
        config = ServerConfig(
            role=Role(role), allowed_origins=origins, keep_seconds=keep_hours * 3600, quota=quota,
            webhook_networks=networks, **settings,
        )
        run(address, config, ready=_say if log_form == logs.LogForm.TEXT else logs.listening)
    except NanoedgeError as error:
        click.echo(f"nanoedge: {error}", err=True)
        context.exit(error.exit_code)


def _say(url: str) -> None:
    click.echo(f"nanoedge serves on {url}", err=True)


if __name__ == "__main__":
    serve(prog_name="nanoedge serve")
