"""A node with keys, in process: who gets in, how often, where edits may go, and for how much."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from edge_runtime.errors import StateError
from edge_runtime.service import EditService, open_service
from server.access import Access
from server.app import create_app
from server.entrance import Entrance
from server.key_store import FILE, PEPPER
from server.keys import Rate, Rule, Scope
from tests.providers.origin import Origin, Reply, started
from tests.providers.protocols import KEY, PROTOCOLS
from tests.server.darkroom import Darkroom

WISH = "replace the cup with a sleeping cat"


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A node that wants keys, and how to make them."""

    client: FlaskClient
    access: Access

    def key(self, **rule: Any) -> str:
        return self.access.keys.create("test", Rule(**rule))[1]

    def asks(self, key: str, path: str = "/v1/plans", **extra: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {key}"} | extra.pop("headers", {})
        return self.client.post(path, **({"json": {"prompt": "warmer"}} | extra), headers=headers)

    def edits(self, key: str, photo: bytes, path: str = "/edit", **fields: str) -> TestResponse:
        data = {"image": (BytesIO(photo), "p.jpg"), "instructions": WISH, "size": "64", **fields}
        headers = {"Authorization": f"Bearer {key}", "Cache-Control": "no-cache"}  # each time is another edit
        return self.client.post(path, data=data, headers=headers)


def guarded(service: Any, state: Path, **config: Any) -> Guarded:
    app = create_app(service, {"state": state, **config})
    return Guarded(client=app.test_client(), access=app.extensions["nanoedge"].access)


@pytest.fixture
def node(darkroom: Darkroom, tmp_path: Path) -> Iterator[Guarded]:
    made = guarded(darkroom, tmp_path / "state", max_body_bytes=1024**2)
    yield made
    made.access.close()


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["error"]["code"]


def test_a_node_without_keys_asks_for_none_and_with_one_it_does(node: Guarded) -> None:
    assert node.asks("none").status_code == 200
    key = node.key()
    refused = node.client.post("/v1/plans", json={"prompt": "warmer"})
    assert code(refused) == (401, "key_missing") and refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert refused.mimetype == "application/problem+json"
    assert refused.get_json()["error"]["type"] == "authentication_error"
    assert code(node.asks("none")) == code(node.asks(key[:-1])) == (401, "bad_key")
    assert node.asks(key).status_code == 200


@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "X-Key"])
def test_where_a_key_may_stand(node: Guarded, name: str) -> None:
    key = node.key()
    value = f"bearer {key}" if name == "Authorization" else key
    assert node.client.get("/v1/models", headers={name: value}).status_code == 200
    other = node.client.get("/v1/models", headers={"Authorization": "Basic abc", "X-Key": key})
    assert code(other) == (401, "bad_key") and "Bearer" in other.get_json()["detail"]


def test_the_page_and_health_are_open_and_the_rest_is_not(node: Guarded) -> None:
    node.key()
    for path in ("/", "/page/app.js", "/healthz", "/readyz"):
        assert node.client.get(path).status_code == 200, path
    for path in ("/metrics", "/v1/models", "/v1/models/nano-banana", "/nothing", "/pages", "/page"):
        assert node.client.get(path).status_code == 401, path


@pytest.mark.parametrize(
    ("scope", "allowed"), [(Scope.EDIT, "/edit"), (Scope.READ, "/v1/plans"), (Scope.METRICS, "/metrics")]
)
def test_scopes(node: Guarded, photo: bytes, scope: Scope, allowed: str) -> None:
    key = node.key(scopes=frozenset((scope,)))
    answers = {
        "/edit": node.edits(key, photo, instructions="warmer"), "/v1/plans": node.asks(key),
        "/metrics": node.client.get("/metrics", headers={"X-Key": key}),
    }
    assert {path for path, answer in answers.items() if answer.status_code == 200} == {allowed}
    for path, answer in answers.items():
        assert path == allowed or code(answer) == (403, "scope_missing")


def test_a_key_that_is_used_too_often(node: Guarded) -> None:
    key = node.key(rate=Rate(count=2, seconds=3600))
    answers = [node.asks(key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert all(answer.headers["RateLimit-Policy"] == '"key";q=2;w=3600' for answer in answers)
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=1", "r=0", "r=0"]
    assert 1700 < int(answers[2].headers["Retry-After"]) <= 1800
    assert answers[2].get_json()["error"]["type"] == "rate_limit_error"
    looked = node.client.get("/v1/models", headers={"X-Key": key})
    assert looked.status_code == 200 and "RateLimit" not in looked.headers, "looking is free"
    assert node.asks(node.key()).status_code == 200, "other keys are not held up"


def test_a_mistake_counts_and_says_what_is_left(node: Guarded) -> None:
    key = node.key(rate=Rate(count=9, seconds=60))
    wrong = node.asks(key, json={})
    assert wrong.status_code == 400 and ";r=8;" in wrong.headers["RateLimit"]


def test_a_long_body_is_refused_by_its_header(node: Guarded) -> None:
    """The stream fails when it is read, so a 413 shows that it was not."""

    class Unread(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise AssertionError("the body was read")

    answer = node.client.post(
        "/edit", input_stream=Unread(), content_type="multipart/form-data; boundary=x",
        environ_overrides={"CONTENT_LENGTH": str(2 * 1024**2)},
    )
    assert code(answer) == (413, "body_too_large") and "1 MiB" in answer.get_json()["detail"]


def test_a_node_whose_keys_can_not_be_read_lets_nobody_in(darkroom: Darkroom, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = guarded(darkroom, state)
    key = first.key()
    first.access.close()
    (state / PEPPER).rename(tmp_path / PEPPER)
    broken = guarded(darkroom, state)
    refused = broken.asks(key)
    assert code(refused) == (500, "bad_state") and str(tmp_path) not in refused.text
    told = Entrance(broken.access, 1000).refusal("POST", "/edit", {"X-Key": key}.get, 10)
    assert isinstance(told, StateError), "said before the body too"
    (tmp_path / PEPPER).rename(state / PEPPER)
    assert broken.asks(key).status_code == 200
    broken.access.close()
    (state / FILE).write_bytes(b"no database at all" * 1000)
    damaged = guarded(darkroom, state)
    assert damaged.asks(key).status_code == 500
    damaged.access.close()


# --- where edits may go ---------------------------------------------------------------------------------------------


@pytest.fixture
def origin() -> Iterator[Origin]:
    with started(PROTOCOLS["openai"].answer) as server:
        yield server


@pytest.fixture
def service(origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EditService]:
    """The real model, and two providers of one price: `central` and `other`."""
    monkeypatch.setenv("CENTRAL_KEY", KEY)
    entry = {"kind": "openai-compatible", "base_url": f"{origin.url}/v1", "key_env": "CENTRAL_KEY", "price_usd": 0.02}
    file = tmp_path / "providers.json"
    entries = [{**entry, "name": name, "model": f"painter-{name}"} for name in ("central", "other")]
    file.write_text(json.dumps({"fallback": "allow", "providers": entries}))
    made = open_service(providers=file)
    yield made
    made.close()


@pytest.fixture
def edge(service: EditService, tmp_path: Path) -> Iterator[Guarded]:
    made = guarded(service, tmp_path / "state", providers=tmp_path / "providers.json")
    yield made
    made.access.close()


@pytest.mark.parametrize("path", ["/edit", "/v1/images/edits"])
def test_a_key_keeps_its_photos_here(edge: Guarded, origin: Origin, photo: bytes, path: str) -> None:
    key = edge.key()
    refused = edge.edits(key, photo, path, prompt=WISH, fallback="allow")
    assert code(refused) == (403, "egress_forbidden") and not origin.asked
    assert "rule of the API key keeps edits on this machine" in refused.get_json()["detail"]
    named = edge.edits(key, photo, path, prompt=WISH, fallback="only", model="central")
    assert code(named) == (403, "egress_forbidden") and not origin.asked
    here = edge.edits(key, photo, path, prompt="warmer", instructions="warmer")
    route = here.get_json().get("route") or here.get_json()["x_route"]
    assert route["site"] == "local" and not origin.asked
    assert {other["name"] for other in route["not_chosen"] if "API key" in other["why"]} == {"central", "other"}


def test_a_key_lets_its_photos_go_to_some(edge: Guarded, photo: bytes) -> None:
    key = edge.key(providers=frozenset(("other",)))
    route = edge.edits(key, photo).get_json()["route"]
    assert route["name"] == "other"
    assert "lets edits go to other only" in {one["name"]: one["why"] for one in route["not_chosen"]}["central"]
    decided = edge.edits(key, photo, "/v1/route").get_json()
    assert decided["name"] == "other", "the decision alone says the same"


def test_a_stream_keeps_the_rule_too(edge: Guarded, origin: Origin, photo: bytes) -> None:
    refused = edge.edits(edge.key(), photo, "/v1/images/edits", prompt=WISH, stream="true", partial_images="1")
    assert code(refused) == (403, "egress_forbidden") and not origin.asked
    allowed = edge.edits(edge.key(providers=None), photo, "/v1/images/edits", prompt=WISH, stream="true")
    assert "image_edit.completed" in allowed.text and len(origin.submissions) == 1


def test_a_spend_cap_ends_what_costs_and_nothing_else(edge: Guarded, origin: Origin, photo: bytes) -> None:
    key = edge.key(providers=None, usd_per_day=0.05)
    assert [edge.edits(key, photo).status_code for _ in range(3)] == [200, 200, 429]
    refused = edge.edits(key, photo)
    assert code(refused) == (429, "spend_cap_reached") and len(origin.submissions) == 2
    assert "has $0.01 left" in refused.get_json()["detail"]
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400 and refused.headers["X-Should-Retry"] == "false"
    assert code(edge.edits(key, photo, "/v1/route")) == (429, "spend_cap_reached")
    assert edge.edits(key, photo, instructions="warmer").get_json()["route"]["site"] == "local"
    key_id = key.split("_")[1]
    assert edge.access.spending.spent(key_id)[0] == pytest.approx(0.04)


def test_what_fails_costs_nothing(edge: Guarded, origin: Origin, photo: bytes) -> None:
    key = edge.key(providers=frozenset(("central",)), usd_per_day=0.03)
    origin.protocol = lambda server, asked: Reply.json({"error": {"message": "no"}}, 400)
    assert edge.edits(key, photo).status_code == 502
    origin.protocol = PROTOCOLS["openai"].answer
    assert edge.edits(key, photo).status_code == 200
    assert edge.access.spending.spent(key.split("_")[1])[0] == pytest.approx(0.02)


def test_a_cheaper_wish_stands_beside_the_cap(edge: Guarded, photo: bytes) -> None:
    key = edge.key(providers=None, usd_per_day=1.0)
    refused = edge.edits(key, photo, max_cost_usd="0.01")
    assert code(refused) == (422, "no_route") and "may be spent" in refused.get_json()["detail"]


def test_costs_without_a_cap_are_counted_too(edge: Guarded, photo: bytes) -> None:
    key = edge.key(providers=None)
    assert edge.edits(key, photo).status_code == 200
    assert edge.access.spending.spent(key.split("_")[1]) == (pytest.approx(0.02), pytest.approx(0.02))


@pytest.mark.parametrize(
    ("hops", "status"), [("0", 200), ("1", 403), ("7", 403), ("-1", 400), ("x", 400), ("1, 1", 400)]
)
def test_what_was_passed_on_is_not_passed_on_again(
    service: EditService, tmp_path: Path, origin: Origin, photo: bytes, hops: str, status: int
) -> None:
    client = create_app(service, {"providers": tmp_path / "providers.json"}).test_client()
    data = {"image": (BytesIO(photo), "p.jpg"), "instructions": WISH, "size": "64"}
    answer = client.post("/edit", data=data, headers={"X-Nanoedge-Hops": hops})
    assert answer.status_code == status, answer.text
    assert len(origin.submissions) == (status == 200)
    if status == 200:
        assert origin.submissions[0].headers["x-nanoedge-hops"] == "1"




def test_models_of_providers_are_listed_and_named(service: EditService, tmp_path: Path) -> None:
    client = create_app(service, {"providers": tmp_path / "providers.json"}).test_client()
    models = client.get("/v1/models").get_json()["data"]
    assert [model["id"] for model in models] == ["nano-banana", "central", "other"]
    assert [model["x_site"] for model in models] == ["local", "central", "central"]
    assert models[1]["owned_by"] == "openai-compatible" and models[1]["x_model"] == "painter-central"
    assert client.get("/v1/models/central").get_json() == models[1]
    missing = client.get("/v1/models/gpt")
    assert missing.status_code == 404 and "nano-banana, central, other" in missing.get_json()["detail"]
