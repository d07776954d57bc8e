"""Signatures that minisign 0.11 made, whole and changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edge_runtime.errors import OptionError, SignatureError
from edge_runtime.minisign import check, public_keys

MESSAGE = b"a manifest\n"
KEYS = """untrusted comment: minisign public key 6B93D3AA9ED4D83B
RWQ72NSeqtOTazDeZtSEQpGjW2GVizKs2IoVDGTaJCwLFUlMYwbhcK85
"""
OTHER = "RWQPjBknOK18ADoMPP8BcXczBUThXWSo2L8Nk/lEuC9cYk1Pl37CjPO/"
SIGNATURE = """untrusted comment: signature from minisign secret key
RUQ72NSeqtOTa/2egwqp1AqPyWGkCe6AAQnJ4mjWvsY9041OmporL/WSmpCJqabtnFSX7wNUg9rRKztrdVtYbxiMo0/2lGXdmAE=
trusted comment: nanoedge test
r9xUmaUNw+7gmXc0UYV3HpiBTSUtksAksZDhjw2lU1Izhr6BT+cryzD8QwpgB7sPNC/qyCAJL0N/ntMIe6KdCQ==
"""
LEGACY = """untrusted comment: signature from minisign secret key
RWQ72NSeqtOTa7PPR3Jr9gLTZfoF5Yu3V2R/vTwE/HaOzUCQLLhGQZQg76Qqs9NKhSPi0T3UbXTipKynwzY+9wysPCSAzLOKDAk=
trusted comment: legacy
BzpvidXtNiGP4RPh771tRjTrZR5TXIvC5GCS21gTWRnCoaa+/9ZhqFqhgEIs7SDEq0/WT6Ms4b+ipNJTk+3+DQ==
"""


def test_a_signature_of_a_trusted_key_holds() -> None:
    keys = public_keys(f"# who signs our models\n{OTHER}\n{KEYS}", "keys")
    signature = check(MESSAGE, SIGNATURE.encode(), keys)
    assert str(signature.key) == "6B93D3AA9ED4D83B" and signature.comment == "nanoedge test"
    assert [str(key) for key in keys] == ["7CAD3827198C0F", "6B93D3AA9ED4D83B"], "as minisign shows them"


@pytest.mark.parametrize(
    ("message", "signature", "words"),
    [
        (MESSAGE + b" ", SIGNATURE, "not of this manifest"),
        (MESSAGE, SIGNATURE.replace("nanoedge test", "nanoedge best"), "comment was changed"),
        (MESSAGE, SIGNATURE.replace("/2egwqp", "/2egwqq"), "not of this manifest"),
        (MESSAGE, LEGACY, "older form"),
        (MESSAGE, SIGNATURE.replace("RUQ7", "RUQ8"), "not trusted here"),
        (MESSAGE, "\n".join(SIGNATURE.splitlines()[:2]), "four lines"),
        (MESSAGE, SIGNATURE.replace("4mjWvsY9041O", ""), "cut off"),
        (MESSAGE, "\xff" * 200, "comments|four lines"),
        (MESSAGE, "", "four lines"),
    ],
)
def test_any_other_is_refused(message: bytes, signature: str, words: str) -> None:
    with pytest.raises(SignatureError, match=words):
        check(message, signature.encode(), public_keys(KEYS, "keys"))


@pytest.mark.parametrize("text", ["", "untrusted comment: x", "RWQ72NSeqtOT", "hello", "RUQ72NSeqtOTazDeZtSEQpGjW2G"])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="public key"):
        public_keys(text, "keys.pub")


@pytest.mark.slow  # it needs the tool, as the other long tests need theirs
def test_what_minisign_signs_now_holds(tmp_path: Path) -> None:
    message = tmp_path / "manifest.json"
    message.write_bytes(MESSAGE)
    key = ["-p", str(tmp_path / "pub"), "-s", str(tmp_path / "sec")]
    subprocess.run(["minisign", "-G", "-W", *key], check=True, capture_output=True)
    signing = ["minisign", "-S", "-s", str(tmp_path / "sec"), "-m", str(message), "-t", "from the test: é"]
    subprocess.run(signing, check=True, capture_output=True)
    signature = Path(f"{message}.minisig").read_bytes()
    assert check(MESSAGE, signature, public_keys((tmp_path / "pub").read_text(), "pub")).comment == "from the test: é"
