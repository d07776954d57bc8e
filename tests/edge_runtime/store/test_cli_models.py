"""`nanoedge models` as an operator types it, against a real registry server; graphs run in tests of the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge_runtime import cli_models
from edge_runtime.errors import NanoedgeError, OptionError, StateError, UnknownModelError
from edge_runtime.registry_login import PASSWORD_VARIABLE, USER_VARIABLE
from edge_runtime.store.layout import Store
from edge_runtime.store.version import Version
from tests.edge_runtime.store.conftest import Maker
from tests.edge_runtime.store.servers import PASSWORD, USER, Site

Bring = Callable[..., Version]


@pytest.fixture
def run(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv(USER_VARIABLE, USER)
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)

    def call(*arguments: object) -> Result:
        chosen = [] if arguments[0] == "push" else ["--model-store", str(store.folder)]
        return CliRunner().invoke(cli_models.models, [*map(str, arguments), *chosen])

    return call


def failed(result: Result, kind: type[NanoedgeError]) -> str:
    assert isinstance(result.exception, kind), result.output
    return str(result.exception)


def test_push_and_pull_print_what_to_pull_and_to_activate(
    run: Callable[..., Result], registry: Site, made: Maker, store: Store
) -> None:
    address = f"{registry.url.replace('http', 'oci+http')}/edge/toy"
    pushed = run("push", made(), f"{address}:int8")
    exact = pushed.stdout.strip()
    assert exact.startswith(f"{address}@sha256:") and "0.9 MB sent, 0.0 MB were there" in pushed.stderr
    assert json.loads(run("push", made(), f"{address}:again", "--json").stdout)["sent_bytes"] == 0
    pulled = run("pull", exact, "--name", "renamed")
    (version,) = store.versions("renamed")
    assert pulled.stdout == f"{version}\n" and f"to use it: nanoedge models activate {version}" in pulled.stderr
    again = json.loads(run("pull", exact, "--name", "renamed", "--json").stdout)
    assert again["fetched_bytes"] == 0 and again["origin"] == exact and again["digest"] == version.digest


def test_a_model_that_does_not_run_here_is_not_activated(
    run: Callable[..., Result], brought: Bring, store: Store
) -> None:
    version = brought()
    assert "toy" in failed(run("activate", version), NanoedgeError) and store.active_of("toy") is None
    assert "toy" in failed(run("pull", version.origin, "--activate"), NanoedgeError)
    store.activate(version)
    store.activate(brought("two"))
    failed(run("rollback", "toy"), NanoedgeError)
    assert store.find("toy").digest != version.digest, "a rollback checks as well"


def test_list_and_remove(run: Callable[..., Result], brought: Bring, store: Store) -> None:
    one, two = brought("one"), brought("two")
    store.activate(one)
    store.activate(two)
    rows = {row["digest"]: row for row in json.loads(run("list", "--json").stdout)}
    assert rows[two.digest]["state"] == "active" and rows[one.digest]["state"] == "previous"
    assert rows["embedded"]["name"] == "nano-banana" and rows["embedded"]["state"] == "active"
    assert str(one) in failed(run("remove", "toy"), OptionError)
    assert "nano-banana" in failed(run("remove", "nothing"), OptionError)
    assert "--even-previous" in failed(run("remove", one), StateError)
    assert run("remove", one, "--even-previous").exit_code == 0
    assert run("deactivate", "toy").exit_code == 0 and store.active_of("toy") is None
    assert "no such model" in failed(run("deactivate", "nothing"), UnknownModelError)
    assert "no such model" in failed(run("verify", "nothing"), UnknownModelError).lower()
    assert "no such model" in failed(run("rollback", "nothing"), UnknownModelError).lower()


def test_push_wants_a_tag(run: Callable[..., Result], made: Maker, tmp_path: Path) -> None:
    address = f"oci://localhost:1/a@sha256:{'0' * 64}"
    assert "a push goes to a tag" in failed(run("push", made(), address), OptionError).lower()
    assert run("push", tmp_path / "none", "oci://localhost:1/a:b").exit_code == 2


