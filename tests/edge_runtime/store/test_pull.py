"""Pulls that break off, are killed, meet full disks and liars: nothing wrong is ever visible, and they go on."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_runtime.artifact import Artifact
from edge_runtime.errors import NanoedgeError, OptionError, SignatureError, SourceError, StateError
from edge_runtime.minisign import public_keys
from edge_runtime.source import BrokenOffError, SourceOptions, open_source
from edge_runtime.store import pull as pulling
from edge_runtime.store.layout import Store
from edge_runtime.store.pull import Pulled, Wish, pull
from edge_runtime.store.version import Version
from tests.edge_runtime.store.conftest import MODEL_BYTES, Maker
from tests.edge_runtime.store.servers import Site
from tests.edge_runtime.test_minisign import KEYS, SIGNATURE
from tests.program import program
from tests.small_disk import Disk

PLAIN = SourceOptions(plain_http=True)


def fetched(store: Store, address: str, progress: Callable[[int, int], object] = lambda done, total: None) -> Pulled:
    return pull(store, open_source(address, PLAIN), Wish(address=address), progress)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "PAUSES_SECONDS", (0.01, 0.01))


def test_a_pull_shows_its_progress_and_what_it_fetched(store: Store, site: Site, made: Maker) -> None:
    seen: list[tuple[int, int]] = []
    pulled = fetched(store, site.add(made()), lambda done, total: seen.append((done, total)))
    total = MODEL_BYTES + 6000
    assert pulled.fetched_bytes == total and seen[0] == (0, total) and seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    version = pulled.version
    assert Artifact.open(version.folder).version == version.short and version.origin == f"{site.url}/model"
    assert not list(store.partial.glob("*/**/*"))
    assert fetched(store, f"{site.url}/model/manifest.json") == Pulled(version=version, fetched_bytes=0)


def test_what_another_version_has_is_not_fetched_again(store: Store, site: Site, made: Maker) -> None:
    first = fetched(store, site.add(made("one"), "/one")).version
    second = fetched(store, site.add(made("two"), "/two"))
    assert second.fetched_bytes == MODEL_BYTES
    assert (first.folder / "deep/common.onnx").samefile(second.version.folder / "deep/common.onnx")
    damaged = first.folder / "deep/common.onnx"
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    third = fetched(store, site.add(made("three"), "/three"))
    assert third.fetched_bytes == MODEL_BYTES + 6000, "a damaged file is not passed on"
    assert Artifact.open(third.version.folder)


def test_a_connection_that_breaks_off_is_taken_up_where_it_stopped(store: Store, site: Site, made: Maker) -> None:
    address = site.add(made())
    site.cut["/model/first.onnx"] = 100_000
    pulled = fetched(store, address)
    assert ("GET", "/model/first.onnx", "bytes=100000-") in site.asked
    assert pulled.fetched_bytes == MODEL_BYTES + 6000 and Artifact.open(pulled.version.folder)


def test_a_server_without_ranges_is_asked_for_all_of_it(store: Store, site: Site, made: Maker) -> None:
    site.ranges = False
    address = site.add(made())
    site.cut["/model/first.onnx"] = 100_000
    assert Artifact.open(fetched(store, address).version.folder)


def test_a_server_that_stays_away_is_given_up_and_gone_on_with_later(store: Store, site: Site, made: Maker) -> None:
    address = site.add(made())
    data = site.files.pop("/model/first.onnx")
    site.files["/model/first.onnx"] = data[:100_000]
    with pytest.raises(BrokenOffError, match=r"less of first.onnx.*100000"):
        fetched(store, address)
    assert store.versions("toy") == ()
    site.files["/model/first.onnx"], site.asked = data, []
    assert fetched(store, address).fetched_bytes == MODEL_BYTES - 100_000 + 6000
    assert ("GET", "/model/first.onnx", "bytes=100000-") in site.asked


def test_a_killed_pull_leaves_nothing_to_see_and_goes_on(
    store: Store, site: Site, made: Maker, tmp_path: Path
) -> None:
    site.pause = threading.Event()
    address = site.add(made())
    site.cut["/model/first.onnx"] = 700_000
    command = [*program(), "models", "pull", address, "--plain-http", "--model-store", str(store.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: sum(path.stat().st_size for path in tmp_path.glob("state/models/partial/*/.parts/*")) > 500_000)
    process.kill()
    process.communicate()
    assert store.versions("toy") == () and store.active_of("toy") is None
    site.asked, site.pause = [], None
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    version = store.versions("toy")[0]
    assert ended.stdout == f"{version}\n" and Artifact.open(version.folder)
    again = next(wanted for _, path, wanted in site.asked if path == "/model/first.onnx")
    assert again is not None and int(again[6:-1]) > 500_000, "only what was missing"


def test_two_pulls_of_one_version_are_not_mixed(store: Store, site: Site, made: Maker) -> None:
    site.pause = threading.Event()
    address = site.add(made())
    site.cut["/model/first.onnx"] = 100_000
    thread = threading.Thread(target=fetched, args=(store, address))
    thread.start()
    wait_for(lambda: any(path == "/model/first.onnx" for _, path, _ in site.asked))
    with pytest.raises(StateError, match="Another process works on the download of toy"):
        fetched(store, address)
    site.pause.set()
    thread.join()
    assert Artifact.open(store.versions("toy")[0].folder)


@pytest.mark.parametrize("change", [lambda data: data[:-1] + b"?", lambda data: data + b"?"])
def test_a_source_that_sends_something_else_is_refused(
    store: Store, site: Site, made: Maker, change: Callable[[bytes], bytes]
) -> None:
    address = site.add(made())
    site.files["/model/first.onnx"] = change(site.files["/model/first.onnx"])
    with pytest.raises(SourceError, match=r"another first.onnx|more of first.onnx"):
        fetched(store, address)
    assert store.versions("toy") == ()


def test_a_wrong_beginning_from_an_earlier_try_is_thrown_away(store: Store, site: Site, made: Maker) -> None:
    address = site.add(made())
    right = site.files["/model/first.onnx"]
    site.files["/model/first.onnx"] = b"wrong" * 20_000
    with pytest.raises(BrokenOffError):
        fetched(store, address)
    site.files["/model/first.onnx"] = right
    assert Artifact.open(fetched(store, address).version.folder)


def test_a_damaged_version_is_mended_by_pulling_it_again(store: Store, brought: Callable[[], Version]) -> None:
    version = brought()
    (version.folder / "first.onnx").write_bytes(b"x" * MODEL_BYTES)
    assert brought() == version or Artifact.open(version.folder)
    Artifact.open(version.folder)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://localhost:1/x", "can't be reached"), ("http://localhost:1/x", "no TLS.*--plain-http"),
        ("ftp://x/y", "unknown source.*folder, https, oci, s3"), ("/nowhere", "no artifact in this folder"),
        ("https://me:secret@localhost/x", "user name or password"), ("s3:///x", "bucket is missing"),
        ("s3://b/x?endpoint=http://localhost:1", "no TLS"), ("s3://b/x?other=1", "unknown options"),
    ],
)  # fmt: skip
def test_addresses_that_can_not_be(store: Store, address: str, words: str) -> None:
    with pytest.raises(NanoedgeError, match=f"(?i){words}") as caught:
        pull(store, open_source(address, SourceOptions()), Wish(address=address))
    assert "secret" not in str(caught.value)


def test_a_place_without_a_manifest_says_so(store: Store, site: Site) -> None:
    with pytest.raises(SourceError, match=r"no manifest.json at this address.*/nothing"):
        fetched(store, f"{site.url}/nothing")


def test_with_keys_only_signed_models_come_in(store: Store, site: Site, made: Maker) -> None:
    address, keys = site.add(made()), public_keys(KEYS, "keys")
    wish = Wish(address=address, keys=keys)
    with pytest.raises(SignatureError, match=r"not signed.*6B93D3AA9ED4D83B"):
        pull(store, open_source(address, PLAIN), wish)
    site.files["/model/manifest.json.minisig"] = SIGNATURE.encode()
    with pytest.raises(SignatureError, match="not of this manifest"):
        pull(store, open_source(address, PLAIN), wish)
    assert store.versions("toy") == ()
    assert all("onnx" not in path for _, path, _ in site.asked), "nothing large was fetched for that"


def test_another_model_may_not_take_the_embedded_ones_name(store: Store, made: Maker) -> None:
    with pytest.raises(OptionError, match="embedded model"):
        pull(store, open_source(str(made()), PLAIN), Wish(address="x", name="nano-banana"))


def test_too_little_space_is_said_before_anything_is_fetched(
    store: Store, site: Site, made: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    with pytest.raises(StateError, match=r"not enough space for toy. Got 1 MB free. Allowed: 18 MB") as caught:
        fetched(store, site.add(made()))
    assert caught.value.code == "disk_full" and all("onnx" not in path for _, path, _ in site.asked)


@pytest.mark.slow  # it mounts a file system, as root
def test_a_disk_that_becomes_full_is_told_and_the_pull_goes_on_later(disk: Disk, site: Site, made: Maker) -> None:
    store = Store(disk.path / "models")
    address = site.add(made())

    def fill(done: int, total: int) -> None:
        if done and not (disk.path / "ballast").exists():
            disk.fill()

    with pytest.raises(StateError, match=r"disk became full.*free some space and pull again") as caught:
        fetched(store, address, fill)
    assert caught.value.code == "disk_full" and store.versions("toy") == ()
    disk.free()
    pulled = fetched(store, address)
    assert Artifact.open(pulled.version.folder) and pulled.fetched_bytes < MODEL_BYTES + 6000


def test_a_limit_of_the_process_is_as_a_full_disk(store: Store, site: Site, made: Maker) -> None:
    limited = f"ulimit -f 100; exec {' '.join(program())} models pull {site.add(made())} --plain-http --model-store "
    ended = subprocess.run(["bash", "-c", f"trap '' XFSZ; {limited}{store.folder}"], capture_output=True, text=True)
    assert ended.returncode == 12 and "disk became full" in ended.stderr and "Traceback" not in ended.stderr
    assert store.versions("toy") == ()
    assert Artifact.open(fetched(store, f"{site.url}/model").version.folder)


def test_a_crash_at_any_moment_of_a_pull_is_gone_on_from(store: Store, made: Maker) -> None:
    from tests.edge_runtime.store.test_store_layout import crashes

    folder = made()

    def look() -> None:
        for version in store.versions("toy"):
            Artifact.open(version.folder)
        assert Artifact.open(fetched(store, str(folder)).version.folder)
        shutil.rmtree(store.folder)

    steps = crashes(lambda: fetched(store, str(folder)), look)
    assert steps >= 10 and Artifact.open(fetched(store, str(folder)).version.folder)


def wait_for(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


