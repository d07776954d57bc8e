from __future__ import annotations

from typing import Any

import pytest

from edge_runtime.errors import InputError, InstructionError, OptionError
from edge_runtime.request import EditRequest, Size


@pytest.mark.parametrize(("text", "size"), [("1024", (1024, 1024)), ("1024x768", (1024, 768)), ("16", (16, 16))])
def test_sizes(text: str, size: tuple[int, int]) -> None:
    parsed = Size.parse(text)
    assert parsed is not None and (parsed.width, parsed.height) == size


@pytest.mark.parametrize("text", ["auto", ""])
def test_auto_keeps_the_photos_size(text: str) -> None:
    assert Size.parse(text) is None


@pytest.mark.parametrize("text", ["big", "0", "0x0", "15", "-5", "1024x", "x768", "99999", "1e3", "10 24", "٣٢"])
def test_bad_sizes_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="(?i)size"):
        Size.parse(text)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"instruction": "warmer", "plan": {"edits": []}},
        {"instruction": ""},
        {"instruction": " \n\t"},
        {"instruction": "a" * 2001},
        {"instruction": "warmer", "output_format": "bmp"},
        {"instruction": "warmer", "quality": 0},
        {"instruction": "warmer", "quality": 101},
    ],
)
def test_bad_requests_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        EditRequest(image=b"", **options)


def test_the_message_of_a_long_instruction_says_what_is_allowed() -> None:
    with pytest.raises(InstructionError, match=r"10000 characters.*1 to 2000"):
        EditRequest(image=b"", instruction="x" * 10_000)
