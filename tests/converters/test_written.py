"""The written requests: every line is read, and means what the vocabulary allows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import pytest

from converters.nano_banana.language.examples import Speaker
from converters.nano_banana.language.grammar import COUNT_SHARES
from converters.nano_banana.language.lexicon import Part, languages
from converters.nano_banana.language.wishes import Labelled, signed_keys
from converters.nano_banana.language.written import FOLDER, Written, joined, read, request

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("language", languages())
def test_requests_cover_every_direction_and_no_text_is_there_twice(language: str) -> None:
    requests = read(language)
    said = {edit.name + ("+" if edit.amount > 0 else "-") for each in requests for edit in each.edits}
    assert said == set(signed_keys())
    texts = [each.text.casefold() for each in requests]
    assert len(set(texts)) == len(texts) > 5000
    assert any(each.beyond and not each.edits for each in requests)
    assert any(not each.beyond and not each.edits for each in requests)


def test_no_benchmark_measures_on_what_is_learned() -> None:
    def plain(text: str) -> str:
        return " ".join(re.findall(r"\w+", text.casefold()))

    learned = {plain(each.text) for language in languages() for each in read(language)}
    for file in (ROOT / "benchmarks" / "phrases").glob("*.json"):
        assert not learned & {plain(entry["text"]) for entry in json.loads(file.read_text(encoding="utf-8"))}, file.name


def test_every_file_belongs_to_a_language() -> None:
    assert {path.name.split("_")[0] for path in FOLDER.glob("*.tsv")} == set(languages())


def test_marks_say_region_direction_strength_and_colour() -> None:
    made = request("a bit warmer, 30 % less colour behind\tall.warmth+~ background.saturation-30%", "en")
    assert made.edits == (Labelled("all", "warmth", 0.25), Labelled("background", "saturation", -0.3))
    assert request("on blue\tbackground.fill+(blue)", "en").edits[0].color == "blue"
    assert request("plain backdrop\tbackground.fill+", "en").edits[0].color == "white"
    assert request("auf den Kopf\tall.rotate+!!", "de").edits[0].amount == 1.0
    assert request("a bit bigger\tall.upscale+~", "en").edits[0].amount == 1.0  # there is no "a bit" of it
    assert request("add a hat\tbeyond", "en").beyond
    assert request("hello\t-", "en").edits == ()


@pytest.mark.parametrize(
    "line",
    [
        "no labels", "no labels\t", "\tall.warmth+", "x\twarmth+", "x\tall.shininess+", "x\tall.warmth",
        "x\tsky.warmth+",
        "x\tall.grain-", "x\tskin.blur+", "x\tall.warmth+(red)", "x\tbackground.fill+(mauve)", "x\tall.warmth+7",
    ],
)  # fmt: skip
def test_a_bad_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        request(line, "en")


def test_two_requests_become_one_unless_the_second_points_back_or_speaks_of_the_same() -> None:
    first = request("Blur the background.\tbackground.blur+", "en")
    both = joined(first, request("more contrast\tall.contrast+", "en"), ". ")
    assert both is not None and both.text == "Blur the background. more contrast"
    assert [edit.name for edit in both.edits] == ["blur", "contrast"]
    assert joined(first, request("make it darker\tall.exposure-", "en"), ". ") is None
    assert joined(first, request("blurrier please\tall.blur+", "en"), ". ") is None
    assert joined(first, request("hi\t-", "en"), ". ") is None


def test_learning_leaves_out_what_is_held_out() -> None:
    learned, held_out = (
        {each.text for each in Written("en", part, Random(0)).requests} for part in (Part.LEARN, Part.HELD_OUT)
    )
    assert learned and held_out and not learned & held_out
    assert len(learned | held_out) == len(read("en"))


def test_a_speaker_draws_the_same_again() -> None:
    first, second = (Speaker("de", Part.LEARN, COUNT_SHARES, seed=5) for _ in range(2))
    assert [first.draw() for _ in range(40)] == [second.draw() for _ in range(40)]
