"""A running server and the model store: versions change under load, and what can't be opened is never served."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import urllib3
from click.testing import CliRunner, Result

from edge_runtime import cli_models
from edge_runtime.cli_edit import edit
from edge_runtime.editor import Editor
from edge_runtime.errors import ArtifactError, StateError, UnknownModelError
from edge_runtime.local import Local
from edge_runtime.request import EditRequest, EditResult, Step
from edge_runtime.service import EditService, open_service
from edge_runtime.source import SourceOptions
from edge_runtime.sources.folder import Folder
from edge_runtime.store.layout import Store
from edge_runtime.store.pull import Wish, pull
from edge_runtime.store.version import Version
from server.app import create_app
from server.config import ServerConfig
from server.serve import _watch
from server.store_watch import StoreWatch
from tests.edge_runtime.store.conftest import copies_of_nano_banana
from tests.program import program
from tests.server.started import ROOT, Started, command, started_server

HTTP = urllib3.PoolManager(maxsize=8, retries=False, timeout=60)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return copies_of_nano_banana(tmp_path_factory.mktemp("models"))


@pytest.fixture
def store(tmp_path: Path, originals: tuple[Path, Path]) -> Store:
    """A store with two versions of nano-banana, and one of it under another name."""
    store = Store(tmp_path / "state" / "models")
    for folder, name in ((originals[0], None), (originals[1], None), (originals[0], "other")):
        pull(store, Folder(str(folder), SourceOptions()), Wish(address=str(folder), name=name))
    return store


@pytest.fixture
def versions(store: Store) -> tuple[Version, Version]:
    found = [version for version in store.versions("nano-banana") if version.digest != "embedded"]
    return found[0], found[1]


@pytest.fixture
def service() -> Iterator[EditService]:
    service = open_service()
    yield service
    service.close()


@pytest.fixture
def watch(store: Store, service: EditService) -> StoreWatch:
    found = _watch(ServerConfig(state=store.folder.parent), service)
    assert found is not None
    found.look()
    return found


def damage(version: Version) -> None:
    """Change one byte of a graph, in a file of its own: other versions may share it."""
    graph = version.folder / "vision.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.unlink()
    graph.write_bytes(data)


def served(service: EditService, photo: bytes, model: str = "nano-banana") -> str:
    return service.edit(EditRequest(image=photo, instruction="warmer", model=model)).version


def test_the_service_follows_the_store(
    store: Store, versions: tuple[Version, Version], service: EditService, watch: StoreWatch, photo: bytes
) -> None:
    embedded = served(service, photo)
    for version in versions:
        store.activate(version)
        watch.look()
        assert served(service, photo) == version.short
    store.rollback(store.back("nano-banana"))
    watch.look()
    assert served(service, photo) == versions[0].short
    with pytest.raises(StateError, match="active"):
        store.remove(versions[0], even_previous=True)
    store.remove(versions[1], even_previous=True)  # nothing holds it any more
    store.deactivate("nano-banana")
    watch.look()
    assert served(service, photo) == embedded and watch.refused == ()


def test_a_further_model_comes_and_goes(
    store: Store, service: EditService, watch: StoreWatch, photo: bytes
) -> None:
    with pytest.raises(UnknownModelError):
        served(service, photo, "other")
    store.activate(store.versions("other")[0])
    watch.look()
    assert served(service, photo, "other") == store.find("other").short
    assert [info.id for info in service.models()] == ["nano-banana", "other"]
    with pytest.raises(StateError, match="active"):
        store.remove(store.find("other"))
    store.deactivate("other")
    with pytest.raises(StateError, match="running nanoedge"):
        store.remove(store.versions("other")[0], even_previous=True)
    watch.look()
    store.remove(store.versions("other")[0], even_previous=True)
    with pytest.raises(UnknownModelError):
        served(service, photo, "other")


def test_what_can_not_be_opened_is_told_and_the_old_one_stays(
    store: Store, versions: tuple[Version, Version], service: EditService, watch: StoreWatch, photo: bytes
) -> None:
    good, bad = versions
    store.activate(good)
    watch.look()
    damage(bad)
    store.activate(bad)  # without the check that the command makes
    watch.look()
    assert served(service, photo) == good.short
    (refused,) = watch.refused
    assert (refused.model, refused.version) == ("nano-banana", bad.short) and "wrong SHA-256" in refused.problem
    app = create_app(service, {"trusted_hosts": ("localhost",)}, watch=watch)
    listed = app.test_client().get("/v1/models").get_json()
    assert listed["x_refused"][0]["version"] == bad.short and listed["data"][0]["x_version"] == good.short
    metrics = app.test_client().get("/metrics").get_data(as_text=True)
    assert f'imgedit_model_refused{{model="nano-banana",version="{bad.short}"}} 1.0' in metrics
    again = open_service()
    try:
        late = _watch(ServerConfig(state=store.folder.parent), again)
        assert late is not None
        late.look()
        assert served(again, photo) == good.short, "a server that starts then begins with the one before"
        assert late.refused == watch.refused
    finally:
        again.close()
    pull(store, Folder(str(bad_original(bad)), SourceOptions()), Wish(address="x"))
    store.activate(bad)
    watch.look()
    assert served(service, photo) == bad.short and watch.refused == ()


def bad_original(version: Version) -> Path:
    return Path(version.origin)


def test_unsigned_versions_are_not_served_where_keys_are_given(
    store: Store, versions: tuple[Version, Version], service: EditService, watch: StoreWatch, photo: bytes
) -> None:
    (store.folder / "trusted.pub").write_text("RWQ72NSeqtOTazDeZtSEQpGjW2GVizKs2IoVDGTaJCwLFUlMYwbhcK85\n")
    store.activate(versions[0])
    watch.look()
    assert served(service, photo) != versions[0].short and "not signed" in watch.refused[0].problem


class Slow:
    """An editor that edits until it is let go, and then says which one it was."""

    def __init__(self, real: Editor, name: str) -> None:
        self._real, self.name = real, name
        self.gate, self.began, self.closed = threading.Event(), threading.Event(), False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def steps(self, request: EditRequest) -> Generator[Step, None, EditResult]:
        assert not self.closed
        self.began.set()
        assert self.gate.wait(20) and not self.closed
        result = yield from self._real.steps(request)
        return EditResult(**{**{name: getattr(result, name) for name in result.__slots__}, "version": self.name})

    def close(self) -> None:
        self.closed = True


def test_a_running_edit_ends_with_the_old_version_and_the_next_ones_begin_with_the_new(photo: bytes) -> None:
    with Editor.open() as real:
        old, new = Slow(real, "old"), Slow(real, "new")
        local = Local("model", old)
        request, results, ended = EditRequest(image=photo, instruction="warmer"), [], threading.Event()

        def work() -> None:
            results.append(local.edit(request).version)

        threads = [threading.Thread(target=work) for _ in range(3)]
        threads[0].start()
        assert old.began.wait(10)
        local.follow(new)
        assert not local.settle() and not old.closed
        for thread in threads[1:]:
            thread.start()
        old.gate.set()
        new.gate.set()
        for thread in threads:
            thread.join(20)
        assert sorted(results) == ["new", "new", "old"] and old.closed and not new.closed and local.settle()
        local.follow(None, ended.set)
        assert new.closed
        with pytest.raises(UnknownModelError, match="out of service"):
            local.edit(request)


def test_a_server_that_ends_waits_for_no_model_that_is_being_opened(
    store: Store, versions: tuple[Version, Version], service: EditService
) -> None:
    opening, gate = threading.Event(), threading.Event()

    def slowly(folder: Path, name: str) -> tuple[Editor, Callable[[], object]]:
        opening.set()
        gate.wait(20)
        return Editor.open(folder), lambda: None

    watch = StoreWatch(store, None, service, slowly)
    watch.look()
    watch.start()
    store.activate(versions[0])
    assert opening.wait(10) and not watch.close(0.1)
    gate.set()
    assert watch.close(20)


def test_a_newer_store_keeps_the_server_from_starting(store: Store) -> None:
    (store.folder / "store.json").write_text('{"format": 2}')
    started = command("--port", "0", "--state", str(store.folder.parent))
    ended = subprocess.run(started, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 12 and "newer nanoedge; nothing was changed" in ended.stderr


def models(store: Store, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program(), "models", *arguments, "--model-store", str(store.folder)], capture_output=True, text=True
    )


def called(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(cli_models.models, [*arguments, "--model-store", str(store.folder)])


def test_the_command_activates_nothing_that_is_damaged(store: Store, versions: tuple[Version, Version]) -> None:
    good, bad = versions
    damage(bad)
    ended = called(store, "activate", str(bad))
    assert isinstance(ended.exception, ArtifactError) and "wrong SHA-256" in str(ended.exception)
    assert store.find("nano-banana").digest == "embedded"
    assert called(store, "activate", str(good)).exit_code == 0 and store.find("nano-banana") == good
    ended = called(store, "verify", "nano-banana")
    assert isinstance(ended.exception, ArtifactError) and "1 of 3 versions" in str(ended.exception)
    assert f"{good}  ok" in ended.stdout and f"{bad}  The file vision.onnx" in ended.stdout
    listed = called(store, "list").stdout
    assert f"{good}  active" in listed and f"{bad}  " in listed and "nano-banana@embedded      previous" in listed


def test_the_edit_command_knows_models_of_the_store(store: Store, photo: bytes, tmp_path: Path) -> None:
    (tmp_path / "in.jpg").write_bytes(photo)
    version = store.versions("other")[0]
    given = [str(tmp_path / "in.jpg"), "warmer", "-o", str(tmp_path / "out.jpg"), "--model-store", str(store.folder)]
    done = CliRunner().invoke(edit, [*given, "--model", str(version), "--json"])
    assert json.loads(done.stdout)["version"] == version.short, done.output
    for name, words in (("nano-banana@0000", "no such version"), ("nothing", "no such model"), ("other", "No version")):
        failed = CliRunner().invoke(edit, [*given, "--model", name]).exception
        assert isinstance(failed, UnknownModelError) and words in str(failed)


@pytest.mark.slow
def test_200_requests_during_ten_activations_and_rollbacks(
    store: Store, versions: tuple[Version, Version], photo: bytes
) -> None:
    """None fails, both versions are seen, every activation is served, and no process of an old version is left."""
    answers: list[tuple[int, str]] = []
    changing = threading.Event()

    def ask(server: Started) -> None:
        while not changing.is_set() or len(answers) < 200:
            fields = {"image": ("p.jpg", photo), "instructions": "warmer", "size": "200"}
            answer = HTTP.request("POST", f"{server.url}/edit", fields=fields)
            answers.append((answer.status, answer.json().get("version")))

    assert models(store, "activate", str(versions[0])).returncode == 0
    with started_server("--model-store", str(store.folder)) as server:
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for turn in range(10):
                wanted = versions[1 - turn % 2]
                done = models(store, "rollback", "nano-banana") if turn % 2 else models(store, "activate", str(wanted))
                assert done.returncode == 0, done.stderr
                wait_for(lambda wanted=wanted: served_now(server) == wanted.short)  # type: ignore[misc]
        finally:
            changing.set()
            for thread in threads:
                thread.join()
        children = [child.cmdline()[-1] for child in psutil.Process(server.process.pid).children()]
    assert len(answers) >= 200 and {status for status, _ in answers} == {200}
    assert {version for _, version in answers} == {version.short for version in versions}
    assert sorted(children) == ["decoder", "editor"]


def served_now(server: Started) -> str:
    return str(HTTP.request("GET", f"{server.url}/v1/models").json()["data"][0]["x_version"])


def wait_for(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
