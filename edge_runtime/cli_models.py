"""`nanoedge models`: versions of models pulled, activated, rolled back, removed, verified, and pushed to a registry."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from edge_runtime.cli import progress_line
from edge_runtime.errors import ArtifactError, NanoedgeError, OptionError
from edge_runtime.state import default_models

if TYPE_CHECKING:
    from edge_runtime.minisign import PublicKey
    from edge_runtime.store.layout import Store
    from edge_runtime.store.version import Version

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _store(command: _Command) -> _Command:
    return click.option(
        "--model-store", "folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
        default=default_models, help="The store. Default: models in the folder for state, as `nanoedge serve` has it.",
    )(command)


_KEYS: Final = click.option(
    "--model-keys", "keys_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="minisign's public keys, one of which must have signed a model. Default: trusted.pub in the store, if there.",
)
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_PLAIN: Final = click.option("--plain-http", is_flag=True, help="Allow addresses without TLS.")


@click.group()
def models() -> None:
    """Keep versions of models, and go back if a new one is worse."""


@models.command("list")
@_store
@_JSON
def list_models(folder: Path, as_json: bool) -> None:
    """Show every version, and which is active."""
    store = _opened(folder)
    rows = [row for name in store.names() for row in _rows(store, name)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    wide = max(len(row["version"]) + len(row["name"]) for row in rows)
    for row in rows:
        named = f"{row['name']}@{row['version']}"
        click.echo(f"{named:<{wide + 1}}  {row['state']:<8}  {row['bytes'] / 1e6:>9,.1f} MB  {_from(row)}".rstrip())


@models.command()
@click.argument("source")
@click.option("--name", help="Keep it under this name instead of its own.")
@click.option("--activate", "at_once", is_flag=True, help="Check it and make it the active version.")
@_PLAIN
@_KEYS
@_store
@_JSON
def pull(
    source: str, name: str | None, at_once: bool, plain_http: bool, keys_file: Path | None, folder: Path, as_json: bool
) -> None:
    """Bring a model from SOURCE into the store; stopped, the same command goes on.

    SOURCE is a folder, https://..., s3://bucket/prefix, or oci://host/repository:tag.
    """
    from edge_runtime.source import SourceOptions, open_source
    from edge_runtime.store.pull import Wish
    from edge_runtime.store.pull import pull as fetch

    store = _opened(folder)
    address = source if "://" in source else str(Path(source).resolve())
    wish = Wish(address=address, name=name, keys=_keys(store, keys_file))
    with closing(open_source(source, SourceOptions(plain_http=plain_http))) as opened, _transfer() as progress:
        pulled = fetch(store, opened, wish, progress)
    version = pulled.version
    if at_once:
        _activated(store, version, wish.keys)
    if as_json:
        click.echo(json.dumps({**_row(store, version), "fetched_bytes": pulled.fetched_bytes}, indent=2))
        return
    click.echo(version)
    if at_once:
        return
    words = f"{pulled.fetched_bytes / 1e6:,.1f} MB fetched" if pulled.fetched_bytes else "nothing had to be fetched"
    click.echo(f"{words}; to use it: nanoedge models activate {version}", err=True)


@models.command()
@click.argument("version", metavar="NAME@VERSION")
@_KEYS
@_store
def activate(version: str, keys_file: Path | None, folder: Path) -> None:
    """Check a version, run its graphs once, and make it the active one. A running server changes over to it."""
    store = _opened(folder)
    _activated(store, store.find(version), _keys(store, keys_file))


@models.command()
@click.argument("name")
@_KEYS
@_store
def rollback(name: str, keys_file: Path | None, folder: Path) -> None:
    """Go back to the version that was active before, after checking it."""
    store = _opened(folder)
    version = store.back(name)
    _checked(version, _keys(store, keys_file))
    store.rollback(version)
    click.echo(f"{version} is active again", err=True)


@models.command()
@click.argument("name")
@_store
def deactivate(name: str, folder: Path) -> None:
    """Let no version of NAME be active: a running server lets the model go. Of nano-banana the embedded one is then."""
    _opened(folder).deactivate(name)
    click.echo(f"{name}: no version of the store is active", err=True)


@models.command()
@click.argument("version", metavar="NAME@VERSION")
@click.option("--even-previous", is_flag=True, help="Even the version that a rollback would go back to.")
@_store
def remove(version: str, even_previous: bool, folder: Path) -> None:
    """Delete a version that is not active."""
    store = _opened(folder)
    if "@" not in version:
        known = ", ".join(map(str, store.versions(version))) or ", ".join(store.names())
        raise OptionError("which version shall go?", got=version, allowed=known)
    found = store.find(version)
    store.remove(found, even_previous=even_previous)
    click.echo(f"{found} is removed", err=True)


@models.command()
@click.argument("name", required=False)
@_KEYS
@_store
@_JSON
def verify(name: str | None, keys_file: Path | None, folder: Path, as_json: bool) -> None:
    """Check digests and signatures of all versions (of NAME, or of NAME@VERSION alone), and run every graph once."""
    store = _opened(folder)
    if name and "@" in name:
        versions = [store.find(name)]
    else:
        names = (name,) if name else store.names()
        versions = [version for one in names for version in store.versions(one)]
        if not versions:
            store.find(f"{name}@")  # raises
    keys = _keys(store, keys_file)
    found = {str(version): _problem(version, keys) for version in versions}
    if as_json:
        click.echo(json.dumps({version: problem or "ok" for version, problem in found.items()}, indent=2))
    else:
        for version, problem in found.items():
            click.echo(f"{version}  {problem or 'ok'}")
    if failed := [version for version, problem in found.items() if problem]:
        raise ArtifactError(f"{len(failed)} of {len(found)} versions can't be used", got=", ".join(failed),
                            hint="remove them, and pull them again")  # fmt: skip


@models.command()
@click.argument("artifact", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("address", metavar="oci://HOST/REPOSITORY:TAG")
@_PLAIN
@_JSON
def push(artifact: Path, address: str, plain_http: bool, as_json: bool) -> None:
    """Put the artifact in DIR into a registry. A manifest.json.minisig beside its manifest goes with it."""
    from edge_runtime.registry import Address, Registry
    from edge_runtime.registry_login import Login
    from edge_runtime.store.push import push as send

    target = Address.parse(address, plain_http=plain_http)
    with closing(Registry(target, Login(environment=os.environ))) as registry, _transfer() as progress:
        pushed = send(artifact, registry, progress)
    exact = f"{address.partition('://')[0]}://{target.host}/{target.repository}@{pushed.digest}"
    if as_json:
        sizes = {"sent_bytes": pushed.sent_bytes, "there_bytes": pushed.there_bytes}
        click.echo(json.dumps({"address": exact, **sizes}, indent=2))
        return
    click.echo(exact)
    click.echo(f"{pushed.sent_bytes / 1e6:,.1f} MB sent, {pushed.there_bytes / 1e6:,.1f} MB were there", err=True)


def _opened(folder: Path) -> Store:
    from edge_runtime.store.layout import Store

    store = Store(folder)
    store.check()
    return store


def _keys(store: Store, file: Path | None) -> tuple[PublicKey, ...]:
    from edge_runtime.store.trust import trusted_keys

    return trusted_keys(store, file)


def _activated(store: Store, version: Version, keys: tuple[PublicKey, ...] | Any) -> None:
    _checked(version, keys)
    changed = store.activate(version)
    words = "is active" if changed else "was active already; running servers look at it again"
    click.echo(f"{version} {words}", err=True)


def _checked(version: Version, keys: Any) -> None:
    from edge_runtime.store.trust import check_runs

    try:
        check_runs(version, keys, progress_line)
    finally:
        progress_line("")


def _problem(version: Version, keys: Any) -> str:
    try:
        _checked(version, keys)
    except NanoedgeError as error:
        return str(error)
    return ""


@contextmanager
def _transfer() -> Iterator[Callable[[int, int], object]]:
    from edge_runtime.progress import TransferProgress

    progress = TransferProgress()
    try:
        yield progress
    finally:
        progress.clear()


def _rows(store: Store, name: str) -> list[dict[str, Any]]:
    return [_row(store, version) for version in store.versions(name)]


def _row(store: Store, version: Version) -> dict[str, Any]:
    pointer = store.pointer(version.name)
    state = "active" if version.digest == pointer.active else "previous" if version.digest in pointer.previous else ""
    size = sum(path.stat().st_size for path in version.folder.rglob("*") if path.is_file())
    return {
        "name": version.name, "version": version.short, "digest": version.digest, "state": state, "bytes": size,
        "origin": version.origin, "since": _date(version.since),
    }


def _from(row: dict[str, Any]) -> str:
    return f"{row['since'] or '':<10}  {row['origin']}"


def _date(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, timezone.utc).date().isoformat() if seconds else None


if __name__ == "__main__":
    models(prog_name="nanoedge models")
