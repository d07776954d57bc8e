"""Versions side by side: what may be active, what may go, and what a crash at any moment leaves."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_runtime import files
from edge_runtime.artifact import Artifact
from edge_runtime.errors import OptionError, StateError, UnknownModelError
from edge_runtime.store.layout import Store
from edge_runtime.store.version import EMBEDDED_VERSION, Version

Bring = Callable[..., Version]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in sorted(folder.rglob("*"))}


def test_an_empty_store_has_the_embedded_model_and_leaves_nothing_on_the_disk(store: Store) -> None:
    assert {name: version.digest for name, version in store.active().items()} == {"nano-banana": EMBEDDED_VERSION}
    assert store.find("nano-banana").folder.name == "nano-banana" and store.stamp() == ()
    assert not store.folder.exists() and not store.folder.parent.exists()


def test_activate_and_roll_back(store: Store, brought: Bring) -> None:
    one, two, three = (brought(word) for word in ("one", "two", "three"))
    assert store.active_of("toy") is None
    with pytest.raises(UnknownModelError, match="No version of toy is active"):
        store.find("toy")
    before = store.stamp()
    for version in (one, two, three):
        assert store.activate(version)
        assert store.find("toy") == version and store.stamp() != before
        before = store.stamp()
    assert not store.activate(three) and store.stamp() != before, "servers look at it again"
    assert [str(version) for version in store.previous_of("toy")] == [str(two), str(one)]
    for version in (two, one):
        store.rollback(store.back("toy"))
        assert store.find("toy") == version
    with pytest.raises(StateError, match="no previous version of toy"):
        store.back("toy")
    store.activate(three)
    assert store.back("toy") == one


def test_a_version_is_named_by_the_start_of_its_digest(store: Store, brought: Bring) -> None:
    one = brought("one")
    assert store.find(str(one)) == store.find(f"toy@{one.digest[:4]}") == store.find(f"toy@{one.digest}") == one
    for wrong in (f"toy@{one.digest[:3]}", "toy@0000000", f"toy@{one.digest}0", "toy@../x"):
        with pytest.raises(UnknownModelError, match=str(one)):
            store.find(wrong)
    with pytest.raises(UnknownModelError, match="no such model"):
        store.find("../toy")
    assert Artifact.open(one.folder).version == one.short


def test_the_embedded_version_can_be_gone_back_to_and_never_removed(store: Store, brought: Bring) -> None:
    version = brought("one", "nano-banana")
    store.activate(version)
    assert store.find("nano-banana") == version and store.back("nano-banana").digest == EMBEDDED_VERSION
    store.rollback(store.back("nano-banana"))
    assert store.find("nano-banana").digest == EMBEDDED_VERSION
    with pytest.raises(StateError, match="comes with the program"):
        store.remove(store.find("nano-banana@embedded"), even_previous=True)
    store.activate(version)
    store.deactivate("nano-banana")
    assert store.find("nano-banana").digest == EMBEDDED_VERSION


def test_what_is_active_previous_or_in_use_is_not_removed(store: Store, brought: Bring) -> None:
    one, two = brought("one"), brought("two")
    store.activate(one)
    store.activate(two)
    with pytest.raises(StateError, match=r"active.*deactivate toy"):
        store.remove(two, even_previous=True)
    with pytest.raises(StateError, match=r"rollback would go.*--even-previous"):
        store.remove(one)
    release = store.hold(one)
    with pytest.raises(StateError, match="running nanoedge"):
        store.remove(one, even_previous=True)
    release()
    store.remove(one, even_previous=True)
    assert store.versions("toy") == (two,) and store.pointer("toy").previous == ()
    assert not list(store.folder.glob("trash/*"))
    assert Artifact.open(two.folder), "files that both had are still there"
    store.deactivate("toy")
    store.remove(two, even_previous=True)
    assert store.names() == ("nano-banana",)


@pytest.mark.parametrize("text", ['{"format": 2}', '{"format": 9, "more": []}'])
def test_a_store_of_a_newer_nanoedge_is_refused_and_not_touched(store: Store, brought: Bring, text: str) -> None:
    one = brought("one")
    store.activate(one)
    (store.folder / "store.json").write_text(text)
    before = tree(store.folder)
    calls: list[Callable[[], object]] = [
        store.names, lambda: store.find("toy"), lambda: store.activate(one), lambda: store.remove(one),
        lambda: store.deactivate("toy"), store.prepare, lambda: brought("two"),
    ]
    for call in calls:
        with pytest.raises(StateError, match=r"written by a newer nanoedge; nothing was changed.*format 1") as caught:
            call()
        assert caught.value.code == "newer_store"
    assert tree(store.folder) == before


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "1"}', '{"format": true}', '{"format": 0}'])
def test_a_damaged_store_is_refused(store: Store, brought: Bring, text: str) -> None:
    brought("one")
    (store.folder / "store.json").write_text(text)
    with pytest.raises(StateError, match="damaged"):
        store.names()


def test_a_store_that_lost_its_format_is_not_taken_for_an_empty_one(store: Store, brought: Bring) -> None:
    brought("one")
    (store.folder / "store.json").unlink()
    with pytest.raises(StateError, match="is missing"):
        store.names()


@pytest.mark.parametrize("text", ["", "{}", '{"active": 1, "previous": []}', '{"active": "x", "previous": []}',
                                  '{"active": null, "previous": ["../.."]}'])  # fmt: skip
def test_a_damaged_pointer_is_told_and_another_version_can_be_chosen(store: Store, brought: Bring, text: str) -> None:
    one = brought("one")
    store.activate(one)
    (one.folder.parent / "active.json").write_text(text)
    with pytest.raises(StateError, match="active.json"):
        store.find("toy")
    store.activate(one)
    assert store.find("toy") == one


def test_names_that_would_leave_the_store_are_refused(store: Store, tmp_path: Path) -> None:
    for name in ("..", "a/b", "", "A", ".hidden", "x" * 65):
        with pytest.raises(OptionError, match="name for a model"):
            store.add(tmp_path, name, "0" * 64)


def test_two_processes_take_turns(store: Store, brought: Bring) -> None:
    one, two = brought("one"), brought("two")
    threads = [threading.Thread(target=store.activate, args=(version,)) for version in (one, two) * 10]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pointer = store.pointer("toy")
    assert {pointer.active, *pointer.previous} == {one.digest, two.digest}
    lock = store.folder / "lock"
    with (
        files.locked(lock, "the store"), pytest.raises(StateError, match="Another process"),
        files.locked(lock, "the store", seconds=0.1),
    ):  # fmt: skip
        raise AssertionError("both have it")


def killed(work: Callable[[], object], step: int) -> bool:
    """Do the work in a child that kills itself before its n-th call that changes the disk; say whether it did."""
    child = os.fork()
    if child == 0:
        left = step

        def counted(call: Callable[..., object]) -> Callable[..., object]:
            def run(*arguments: object, **options: object) -> object:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)

            return run

        for name in ("fsync", "rename", "replace", "unlink", "mkdir", "rmdir", "open", "link"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def crashes(work: Callable[[], object], check: Callable[[], object]) -> int:
    """Let the work crash before each change of the disk in turn; `check` looks at what each crash left."""
    step = 0
    while killed(work, step):
        check()
        step += 1
        assert step < 200
    return step


def test_a_kill_in_activate_leaves_one_version_or_the_other(store: Store, brought: Bring) -> None:
    one, two = brought("one"), brought("two")
    store.activate(one)
    seen = set()

    def look() -> None:
        active = store.find("toy")
        Artifact.open(active.folder)
        seen.add(active.digest)
        store.activate(one)

    assert crashes(lambda: store.activate(two), look) >= 4
    assert seen == {one.digest, two.digest}


def test_a_kill_in_remove_leaves_a_whole_version_or_none(store: Store, brought: Bring) -> None:
    kept = brought("kept")
    store.activate(kept)

    def look() -> None:
        for version in store.versions("toy"):
            Artifact.open(version.folder)
        assert store.find("toy") == kept
        brought("gone")

    brought("gone")
    assert crashes(lambda: store.remove(store.find(str(brought("gone")))), look) >= 4
    store.sweep()
    assert not list(store.folder.glob("trash/*")) and json.loads((store.folder / "store.json").read_text())
