"""Manifests: their exact bytes, and what is not written."""

import copy
import hashlib
import json
import re
from dataclasses import FrozenInstanceError, replace
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_artifact import manifest

from edge_runtime import canonical_json
from edge_runtime.errors import ArtifactError
from edge_runtime.manifest import Component, Manifest

ROOT = Path(__file__).parents[2]


def test_the_bytes_of_a_manifest():
    tokens = Component(name="tokens", file="tokens.json", precision="none", sha256="0" * 64, bytes=2)
    data = Manifest(
        family="tiny",
        name="tiny",
        target="onnx",
        recipe="fp32",
        components=(tokens,),
        settings={"ü": 1, "a": [0.1, ()]},
    )
    assert (
        data.encode().decode()
        == """{
  "components": [
    {
      "bytes": 2,
      "data": [],
      "file": "tokens.json",
      "inputs": [],
      "name": "tokens",
      "note": "",
      "outputs": [],
      "precision": "none",
      "sha256": "0000000000000000000000000000000000000000000000000000000000000000"
    }
  ],
  "family": "tiny",
  "format_version": 2,
  "name": "tiny",
  "provenance": {},
  "quality": {},
  "recipe": "fp32",
  "settings": {
    "a": [
      0.1,
      []
    ],
    "ü": 1
  },
  "target": "onnx"
}
"""
    )


def test_the_order_of_insertion_leaves_no_trace():
    assert canonical_json.encode({"b": 1, "a": {"d": 2, "c": 3}}) == canonical_json.encode(
        {"a": {"c": 3, "d": 2}, "b": 1}
    )


@pytest.mark.parametrize(
    ("value", "spelling"),
    [(1.0, "1.0"), (1, "1"), (-0.0, "-0.0"), (1e22, "1e+22"), (0.1 + 0.2, "0.30000000000000004"),
     (2**53 - 1, "9007199254740991"), ("\u2028/\n\"", '"\u2028/\\n\\""'), (True, "true"), (None, "null")],
)  # fmt: skip
def test_the_spelling_of_values(value, spelling):
    assert canonical_json.encode(value).decode() == spelling + "\n"


def test_a_string_enum_is_written_as_its_value():
    assert canonical_json.encode(Enum("Metric", {"PSNR": "psnr"}, type=str).PSNR) == b'"psnr"\n'


scalars = (
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
keys = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
values = st.recursive(scalars | keys, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)


@given(values)
@settings(deadline=None, max_examples=50)
def test_decoding_what_was_encoded_gives_the_value_and_the_bytes_again(value):
    encoded = canonical_json.encode(value)
    assert canonical_json.decode(encoded) == value
    assert canonical_json.encode(canonical_json.decode(encoded)) == encoded


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        2**53,
        "\0",
        "\ud800",
        {1: 2},
        {"\n": 1},
        {"k" * 257: 1},
        {"u\u0308": 1},
        b"",
        {1, 2},
        ...,
    ],
    ids=ascii,
)
def test_values_that_are_not_written(value):
    with pytest.raises(ArtifactError):
        canonical_json.encode({"member": value})


def test_the_manifest_keeps_its_own_copy_of_settings():
    settings = {"list": [1]}
    kept = manifest(settings=settings)
    settings["list"].append(2)
    assert kept.settings == {"list": [1]}
    with pytest.raises(FrozenInstanceError):
        kept.name = "other"


def test_reading_a_component_leaves_what_is_read_as_it_was():
    written = Component(name="one", file="one.onnx", precision="none", sha256="0" * 64, bytes=2).to_json()
    before = copy.deepcopy(written)
    assert Component.from_json(written, "here") == Component.from_json(written, "here")
    assert written == before


def test_the_example_in_the_documentation_is_a_manifest_and_canonical():
    text = (ROOT / "docs" / "artifact-format.md").read_text(encoding="utf-8")
    example = re.search(r"```json\n(.*?)```", text, re.DOTALL)[1].encode()
    assert Manifest.decode(example).encode() == example
    assert hashlib.sha256(example).hexdigest()[:12] in text


def test_unmeasured_components_are_not_encoded():
    with pytest.raises(ArtifactError, match="Write_artifact fills it in"):
        manifest().encode()


def test_components_are_described_without_digests_or_with_usable_ones():
    part = manifest().components[0]
    for change in (
        {"sha256": "0" * 64},
        {"bytes": 3},
        {"sha256": "G" * 64, "bytes": 3},
        {"sha256": "0" * 64, "bytes": -1},
    ):
        with pytest.raises(ArtifactError):
            replace(part, **change)


@pytest.mark.parametrize("version", [1, 3])
def test_another_version_is_named_before_its_members(version):
    with pytest.raises(ArtifactError, match="Update nanoedge, or convert the model again"):
        Manifest.decode(json.dumps({"format_version": version, "layers": []}).encode())
