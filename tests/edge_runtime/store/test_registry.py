"""Push to and pull from a registry that wants tokens, by real HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_runtime import registry as registries
from edge_runtime.artifact import Artifact
from edge_runtime.errors import ArtifactError, NanoedgeError, OptionError, SourceError
from edge_runtime.registry import Address, Registry
from edge_runtime.registry_login import PASSWORD_VARIABLE, USER_VARIABLE, Login
from edge_runtime.source import SourceOptions, open_source
from edge_runtime.store.layout import Store
from edge_runtime.store.pull import Pulled, Wish, pull
from edge_runtime.store.push import Pushed, push
from tests.edge_runtime.store.conftest import MODEL_BYTES, Maker
from tests.edge_runtime.store.servers import PASSWORD, USER, Site


@pytest.fixture(autouse=True)
def login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(USER_VARIABLE, USER)
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def address(site: Site, rest: str = "edge/toy:int8") -> str:
    return f"{site.url.replace('http', 'oci+http')}/{rest}"


def pushed(site: Site, folder: Path, rest: str = "edge/toy:int8", **login: str) -> Pushed:
    login = login or {USER_VARIABLE: USER, PASSWORD_VARIABLE: PASSWORD}
    return push(folder, Registry(Address.parse(address(site, rest)), Login(environment=login)))


def pulled(store: Store, site: Site, rest: str = "edge/toy:int8") -> Pulled:
    return pull(store, open_source(address(site, rest), SourceOptions()), Wish(address=address(site, rest)))


def test_what_was_pushed_is_pulled_by_tag_and_by_digest(
    store: Store, registry: Site, made: Maker, tmp_path: Path
) -> None:
    folder = made()
    (folder / "manifest.json.minisig").write_text("a signature")
    sent = pushed(registry, folder)
    assert sent.sent_bytes > MODEL_BYTES and sent.there_bytes == 0
    version = pulled(store, registry).version
    assert Artifact.open(version.folder).version == Artifact.open(folder).version
    assert (version.folder / "manifest.json.minisig").read_text() == "a signature"
    other = Store(tmp_path / "other" / "models")
    assert pulled(other, registry, f"edge/toy@{sent.digest}").version.digest == version.digest
    manifest = json.loads(registry.manifests["edge/toy int8"])
    assert manifest["artifactType"] == "application/vnd.nanoedge.model.v1" and manifest["config"]["size"] == 2
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in manifest["layers"]]
    assert titles == ["manifest.json", "manifest.json.minisig", "first.onnx", "deep/common.onnx"]


def test_what_the_registry_has_is_not_sent_again(registry: Site, made: Maker) -> None:
    pushed(registry, made("one"))
    again = pushed(registry, made("one"), "edge/toy:again")
    assert again.sent_bytes == 0 and again.there_bytes > MODEL_BYTES
    other = pushed(registry, made("two"))
    assert MODEL_BYTES < other.sent_bytes < MODEL_BYTES + 5000
    assert other.there_bytes == 6002, "the file that both have, and the empty configuration"


def test_large_files_go_up_in_pieces(
    store: Store, registry: Site, made: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registries, "_PIECE_BYTES", 250_000)
    pushed(registry, made())
    assert Artifact.open(pulled(store, registry).version.folder)


def test_a_pull_that_breaks_off_goes_on(store: Store, registry: Site, made: Maker) -> None:
    pushed(registry, made())
    blob = next(digest for digest, data in registry.blobs.items() if len(data) == MODEL_BYTES)
    registry.cut[f"/v2/edge/toy/blobs/{blob}"] = 600_000
    assert Artifact.open(pulled(store, registry).version.folder)
    assert ("GET", f"/v2/edge/toy/blobs/{blob}", "bytes=600000-") in registry.asked


def test_a_token_that_expires_in_between_is_asked_for_again(store: Store, registry: Site, made: Maker) -> None:
    pushed(registry, made())
    source = open_source(address(registry), SourceOptions())
    source.manifest()
    registry.tokens.clear()
    assert Artifact.open(pull(store, source, Wish(address="x")).version.folder)


def test_without_credentials_the_way_to_them_is_named(registry: Site, made: Maker) -> None:
    with pytest.raises(SourceError, match=r"wants credentials.*NANOEDGE_REGISTRY_USER.*docker login"):
        pushed(registry, made(), HOME="/nowhere")
    with pytest.raises(SourceError, match="does not accept these credentials") as caught:
        pushed(registry, made(), **{USER_VARIABLE: USER, PASSWORD_VARIABLE: "wrongword"})
    assert "wrongword" not in str(caught.value)


def test_what_docker_login_wrote_is_used(registry: Site, made: Maker, tmp_path: Path) -> None:
    folder = tmp_path / "docker"
    folder.mkdir()
    host = registry.url.removeprefix("http://")
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    assert pushed(registry, made(), DOCKER_CONFIG=str(folder)).sent_bytes
    (folder / "config.json").write_text("{")
    with pytest.raises(OptionError, match="Docker's file"):
        pushed(registry, made(), DOCKER_CONFIG=str(folder))


def test_without_tls_only_when_that_is_said(registry: Site) -> None:
    plain = address(registry).replace("oci+http", "oci")
    with pytest.raises(NanoedgeError, match="SSL"):
        open_source(plain, SourceOptions()).manifest()
    with pytest.raises(SourceError, match="no such model"):
        open_source(plain, SourceOptions(plain_http=True)).manifest()


@pytest.mark.parametrize(
    "text", ["oci://", "oci://host", "oci://host/Upper:tag", "oci://host/a:b:c", "oci://me:pw@host/a", "oci://h/a@sha256:12"]
)  # fmt: skip
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(OptionError, match="no address in a registry"):
        Address.parse(text)


def test_a_damaged_artifact_is_not_pushed(registry: Site, made: Maker) -> None:
    folder = made()
    (folder / "first.onnx").write_bytes(b"x" * MODEL_BYTES)
    with pytest.raises(ArtifactError, match="wrong SHA-256"):
        pushed(registry, folder)
    assert not registry.blobs and not registry.asked


def _blob_of(site: Site, size: int) -> str:
    return next(digest for digest, data in site.blobs.items() if len(data) == size)


def _foreign(manifest: dict[str, Any]) -> None:
    manifest["artifactType"] = "application/vnd.docker.something"


def _without_layers(manifest: dict[str, Any]) -> None:
    manifest["layers"] = [{"digest": 5}]


def _another_file(manifest: dict[str, Any]) -> None:
    manifest["layers"][1]["digest"] = manifest["layers"][2]["digest"]


def _missing(manifest: dict[str, Any]) -> None:
    manifest["layers"] = manifest["layers"][:2]


@pytest.mark.parametrize(
    ("change", "words"),
    [(_foreign, "no model of nanoedge"), (_without_layers, "another form"), (_another_file, "differ about first.onnx"),
     (_missing, "lacks deep/common.onnx")],
)  # fmt: skip
def test_a_registry_with_something_else_is_refused(
    store: Store, registry: Site, made: Maker, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    pushed(registry, made())
    manifest = json.loads(registry.manifests["edge/toy int8"])
    change(manifest)
    registry.manifests["edge/toy int8"] = json.dumps(manifest).encode()
    with pytest.raises(SourceError, match=words):
        pulled(store, registry)
    assert store.versions("toy") == ()


def test_a_registry_that_lies_about_content_is_refused(store: Store, registry: Site, made: Maker) -> None:
    sent = pushed(registry, made())
    reference = f"edge/toy {sent.digest}"
    right = registry.manifests[reference]
    registry.manifests[reference] = right + b" "
    with pytest.raises(SourceError, match="another manifest"):
        pulled(store, registry, f"edge/toy@{sent.digest}")
    registry.manifests[reference] = right
    digest = next(layer["digest"] for layer in json.loads(right)["layers"])
    registry.blobs[digest] += b" "
    with pytest.raises(SourceError, match="wrong digest|too large"):
        pulled(store, registry)
