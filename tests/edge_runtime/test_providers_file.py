"""The providers file: what it may say, and one clear error for each thing that it may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_runtime import plugins
from edge_runtime.errors import OptionError
from edge_runtime.providers_file import ProvidersFile
from edge_runtime.route import Fallback

GOOD: dict[str, Any] = {
    "name": "central", "kind": "openai-compatible", "base_url": "https://gpu.example.com/v1",
    "model": "qwen-image-edit", "key_env": "CENTRAL_KEY", "price_usd": 0.01, "seconds": 6,
    "good_for": ["composition"], "options": {"mask": "white"},
}  # fmt: skip
ENVIRONMENT = {"CENTRAL_KEY": "sk-secret-4711\n", "EMPTY": " ", "ODD": "sk-\u00fc"}


def read(tmp_path: Path, data: object) -> ProvidersFile:
    path = tmp_path / "providers.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return ProvidersFile.read(path, ENVIRONMENT)


def test_a_good_file(tmp_path: Path) -> None:
    found = read(tmp_path, {"fallback": "allow", "providers": [GOOD, {**GOOD, "name": "other", "key_env": None}][:1]})
    (central,) = found.providers
    assert found.fallback is Fallback.ALLOW and central.key == "sk-secret-4711" and "4711" not in repr(found)
    assert central.options == {"mask": "white", "extensions": "yes", "idempotency": "no"}
    assert central.good_for == ("composition",)
    assert central.url("images/edits") == "https://gpu.example.com/v1/images/edits"


def test_without_a_word_nothing_leaves(tmp_path: Path) -> None:
    assert read(tmp_path, {"providers": [GOOD]}).fallback is Fallback.NEVER


def test_every_kind_of_the_documentation_is_there() -> None:
    assert plugins.names("providers") == ("bfl", "dashscope", "gemini", "openai_compatible", "replicate")
    for name in plugins.names("providers"):
        assert plugins.load("providers", name).headers("k")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": None}, "members are missing"),
        ({"name": ""}, "members are missing. Got name"),
        ({"kind": "openai_soon"}, "unknown provider. Got openai_soon. Allowed: bfl, dashscope"),
        ({"kind": "../errors"}, "unknown provider"),
        ({"base_url": "gpu.example.com"}, "base_url is no address"),
        ({"base_url": "ftp://gpu.example.com"}, "base_url is no address"),
        ({"base_url": "https://me:pw@gpu.example.com"}, "base_url is no address"),
        ({"base_url": "https://gpu.example.com:port"}, "base_url is no address"),
        ({"base_url": "http://gpu.example.com/v1"}, "unencrypted"),
        ({"key_env": "NOT_THERE"}, "its key is missing. Got no variable NOT_THERE"),
        ({"key_env": "EMPTY"}, "its key is missing"),
        ({"key_env": "ODD"}, "characters"),
        ({"key": "sk-secret"}, "key_env names its environment variable"),
        ({"price": 1}, "unknown members. Got price"),
        ({"price_usd": "1"}, "price_usd has the wrong type. Got 1. Allowed: a number"),
        ({"price_usd": True}, "price_usd has the wrong type"),
        ({"seconds": -1}, "seconds is out of range"),
        ({"good_for": ["magic"]}, "unknown kinds in good_for. Got magic. Allowed: edge, retouch"),
        ({"good_for": [1]}, "list of texts"),
        ({"good_for": "edge"}, "wrong type"),
        ({"options": {"masks": "white"}}, "unknown options of openai-compatible. Got masks. Allowed: mask, extensions"),
        ({"options": {"mask": 1}}, "options must be texts"),
        ({"options": {"mask": "blue"}}, "mask"),
        ({"name": "auto"}, "stands for any model"),
    ],
)
def test_one_clear_error_each(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    entry = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(OptionError) as caught:
        read(tmp_path, {"providers": [entry]})
    assert words.lower() in str(caught.value).lower() and "4711" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"base_url": "http://127.0.0.1:9/v1"}, {"base_url": "http://localhost/v1"}, {"base_url": "http://[::1]:8080/v1"},
     {"base_url": "http://gpu.example.com/v1", "plain_http": True}],
)  # fmt: skip
def test_plain_http_where_nobody_listens(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert read(tmp_path, {"providers": [{**GOOD, **changes}]}).providers[0].key


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("{", "can't be read"), ("[]", "needs a list"), ({}, "needs a list"), ({"providers": [1]}, "must be an object"),
        ({"providers": [], "fallbacks": "never"}, "unknown members"),
        ({"providers": [], "fallback": "always"}, "never, allow, only"),
        ({"providers": [GOOD, GOOD]}, "two providers have the same name"),
    ],
)  # fmt: skip
def test_files_of_another_form(tmp_path: Path, data: object, words: str) -> None:
    with pytest.raises(OptionError) as caught:
        read(tmp_path, data)
    assert words in str(caught.value).lower()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="can't be read"):
        ProvidersFile.read(tmp_path / "none.json", {})
