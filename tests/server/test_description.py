"""The description of the API: it names every route and nothing else, and what it promises holds (schemathesis)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from server.access import Asked
from server.description import description
from server.key_store import KeyStore
from server.keys import Rule, Scope
from tests.server.started import started_server

EXAMPLES = 40
STATUSES = """
[checks.positive_data_acceptance]
# A schema can't say what a photo is, which models there are, or what a node can do in a millisecond.
expected-statuses = ["2xx", "400", "403", "404", "413", "415", "422", "503", "504"]
[checks.not_a_server_error]
# No capacity now, and a deadline that can't be kept, are answers in good order.
expected-statuses = ["2xx", "3xx", "4xx", "503", "504"]
"""


def operations(paths: dict[str, Any]) -> Iterator[tuple[str, str]]:
    return ((path, method.upper()) for path, methods in paths.items() for method in methods)


def test_every_route_is_described_and_nothing_else(app: Flask) -> None:
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in app.url_map.iter_rules() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert set(operations(description()["paths"])) == routes


def test_every_reference_leads_somewhere_and_every_part_is_used() -> None:
    whole = description()
    used = set(re.findall(r'"#/components/(\w+)/([\w-]+)"', json.dumps(whole)))
    there = {(kind, name) for kind, parts in whole["components"].items() for name in parts}
    assert used <= there
    assert there - used == {("securitySchemes", name) for name in ("bearer", "xApiKey", "xKey")}


def test_what_is_open_is_described_as_open() -> None:
    for path, methods in description()["paths"].items():
        for method, operation in methods.items():
            scope = Asked(method=method.upper(), path=path.replace("{", "").replace("}", ""), header=dict().get).scope
            assert ("security" in operation) == (scope is None), path
            assert ("401" in operation["responses"]) == (scope is not None), path


def test_it_is_served(client: FlaskClient) -> None:
    served = client.get("/openapi.json").get_json()
    assert served["openapi"] == "3.1.0" and served["info"]["version"] and served == description()


@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    state, config = tmp_path / "state", tmp_path / "schemathesis.toml"
    store = KeyStore(state)
    _, key = store.create("test", Rule(scopes=frozenset(Scope)))
    store.close()
    config.write_text(STATUSES)
    with started_server("--state", str(state)) as server:
        ended = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run",
                f"{server.url}/openapi.json", "--header", f"Authorization: Bearer {key}", "--checks", "all",
                "--max-examples", str(EXAMPLES), "--request-timeout", "60", "--seed", "1", "--no-color",
                "--suppress-health-check", "all",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=500,
        )  # fmt: skip
    assert ended.returncode == 0, ended.stdout
    count = len(list(operations(description()["paths"]))) - 1  # it leaves out its own source, /openapi.json
    tested = f"Selected: {count}/{count}"
    assert tested in ended.stdout, ended.stdout
