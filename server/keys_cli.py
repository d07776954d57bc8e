"""`nanoedge keys`: make, list, rotate and revoke API keys. A running server takes changes at its next request."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from edge_runtime.state import default_state
from server.key_store import KeyStore
from server.keys import ApiKey, Rate, Rule, egress_of, scopes_of, seconds_of
from server.spending import Spending

_STATE = click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", default=default_state,
    help="The folder that the server keeps its state in. Default: nanoedge in the user's folder for state.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_SHOWN_ONCE = "this key is shown once, keep it"


@click.group()
def keys() -> None:
    """Make and end the API keys of this node. As soon as there is one, the server wants one."""


@keys.command()
@click.argument("name")
@click.option("--scopes", default="edit,read", show_default=True, help="Of edit, read (models, plans), metrics.")
@click.option("--expires", metavar="DURATION", help="How long it holds: 90d, 24h. Default: until it is revoked.")
@click.option(
    "--egress", default="never", show_default=True, metavar="RULE",
    help="May its photos leave this machine: never, allow, or names of providers.",
)
@click.option("--usd-per-day", type=float, help="What providers may take for it in a day.")
@click.option("--usd-per-month", type=float, help="What providers may take for it in a month.")
@click.option("--rate", metavar="RATE", help="How often it may ask: 5/s, 60/min, 1000/h. Default: no limit.")
@_STATE
@_JSON
def create(name: str, state: Path, as_json: bool, **options: Any) -> None:
    """Make a key for NAME and print it, this once."""
    rate, expires = options["rate"], options["expires"]
    rule = Rule(
        scopes=scopes_of(options["scopes"]), providers=egress_of(options["egress"]),
        usd_per_day=options["usd_per_day"], usd_per_month=options["usd_per_month"],
        rate=None if rate is None else Rate.parse(rate),
    )
    key, text = KeyStore(state).create(name, rule, None if expires is None else seconds_of(expires))
    _print_secret(text, as_json, _described(key, state))


@keys.command("list")
@_STATE
@_JSON
def list_keys(state: Path, as_json: bool) -> None:
    """Show all keys, without their secrets, and what providers took for them."""
    entries = [_described(key, state) for key in KeyStore(state).all()]
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    for entry in entries:
        click.echo(_line(entry))


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap", default="24h", show_default=True, metavar="DURATION", help="How long the old secret still holds."
)
@_STATE
@_JSON
def rotate(key_id: str, overlap: str, state: Path, as_json: bool) -> None:
    """Give a key a new secret and print it, this once. Its identifier and its spending stay."""
    store = KeyStore(state)
    text = store.rotate(key_id, seconds_of(overlap))
    key = store.get(key_id)
    assert key is not None
    _print_secret(text, as_json, _described(key, state))


@keys.command()
@click.argument("key_id", metavar="ID")
@_STATE
def revoke(key_id: str, state: Path) -> None:
    """End a key at once."""
    KeyStore(state).revoke(key_id)
    click.echo(f"{key_id} is revoked", err=True)


def _print_secret(text: str, as_json: bool, entry: dict[str, Any]) -> None:
    click.echo(json.dumps({"key": text, **entry}, indent=2) if as_json else text)
    click.echo(f"{_line(entry)}\n{_SHOWN_ONCE}", err=True)


def _described(key: ApiKey, state: Path) -> dict[str, Any]:
    day, month = Spending(state).spent(key.id)
    return {
        "id": key.id, "name": key.name, "state": key.state(time.time()), "created": _date(key.created),
        "expires": _date(key.expires), "revoked": _date(key.revoked), "overlap_until": _date(key.overlap_until),
        **key.rule.to_json(), "usd_today": round(day, 6), "usd_this_month": round(month, 6),
    }


def _line(entry: dict[str, Any]) -> str:
    providers = entry["providers"]
    egress = "anywhere" if providers is None else ",".join(providers) or "never leaves"
    caps = [f"${cap:g}/{span}" for span in ("day", "month") if (cap := entry[f"usd_per_{span}"]) is not None]
    parts = (
        entry["id"], entry["state"], entry["name"], ",".join(entry["scopes"]), egress, *caps, entry["rate"] or "",
        f"expires {entry['expires']}" if entry["expires"] else "", f"${entry['usd_this_month']:g} this month",
    )
    return "  ".join(filter(None, parts))


def _date(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


if __name__ == "__main__":
    keys(prog_name="nanoedge keys")
