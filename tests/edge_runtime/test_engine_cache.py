"""Engines on disk: built once, built again when anything that they depend on has changed."""

import logging
from dataclasses import replace

import pytest

from edge_runtime.engine_cache import BuiltFor, EngineCache
from edge_runtime.errors import EngineError

WANTED = BuiltFor(gpu="Orin", capability="8.7", tensorrt="10.3.0", driver="12060", shapes="{}", model="a" * 64)


class Builder:
    """Gives another engine each time, so that a test sees which one it gets."""

    def __init__(self) -> None:
        self.built = 0

    def __call__(self) -> bytes:
        self.built += 1
        return f"engine {self.built}".encode()


@pytest.fixture
def cache(tmp_path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def test_an_engine_is_built_once(cache):
    builder = Builder()
    assert [cache.engine("vision-1", WANTED, builder) for _ in range(3)] == [b"engine 1"] * 3


@pytest.mark.parametrize("name", ["gpu", "capability", "tensorrt", "driver", "shapes", "model"])
def test_anything_else_is_built_again_and_the_old_one_goes(cache, tmp_path, caplog, name):
    builder = Builder()
    cache.engine("vision-1", WANTED, builder)
    changed = replace(WANTED, **{name: "other"})
    with caplog.at_level(logging.WARNING):
        assert cache.engine("vision-1", changed, builder) == b"engine 2"
    assert f"{name} {getattr(WANTED, name)[:40]} is now other" in caplog.text
    assert len(list((tmp_path / "engines").iterdir())) == 2
    assert cache.engine("vision-1", WANTED, builder) == b"engine 3"


def test_other_engines_stay(cache):
    builder = Builder()
    cache.engine("vision-1", WANTED, builder)
    cache.engine("text-1", replace(WANTED, model="b" * 64), builder)
    assert cache.engine("vision-1", WANTED, builder) == b"engine 1"


@pytest.mark.parametrize("suffix", [".engine", ".json"])
def test_a_damaged_engine_is_built_again(cache, tmp_path, suffix):
    builder = Builder()
    cache.engine("vision-1", WANTED, builder)
    damaged = next((tmp_path / "engines").glob(f"*{suffix}"))
    damaged.write_bytes(damaged.read_bytes()[:-3])
    assert cache.engine("vision-1", WANTED, builder) == b"engine 2"
    assert cache.engine("vision-1", WANTED, builder) == b"engine 2"


def test_a_build_that_fails_leaves_nothing(cache, tmp_path):
    def fails() -> bytes:
        raise EngineError("no memory")

    with pytest.raises(EngineError, match="No memory"):
        cache.engine("vision-1", WANTED, fails)
    assert not (tmp_path / "engines").exists()


def test_a_folder_that_is_none_is_explained(tmp_path):
    (tmp_path / "engines").write_text("a file")
    with pytest.raises(EngineError, match="can't be kept.*writable"):
        EngineCache(tmp_path / "engines").engine("vision-1", WANTED, Builder())


def test_the_folder_is_the_users_alone(cache, tmp_path):
    cache.engine("vision-1", WANTED, Builder())
    assert (tmp_path / "engines").stat().st_mode & 0o077 == 0
