"""Phrases set aside: the files fit the vocabulary, and the measures count what they say."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import language
from benchmarks.language import Answer, accepted, auc, calibration_error, cells, report, share
from converters.nano_banana.vocabulary import vocabulary
from edge_runtime.editor import EMBEDDED
from edge_runtime.plan import Edit, Plan

BRIGHTER = {"adjust": "exposure", "sign": 1, "region": "subject"}
BRIGHTER_SKIN = {**BRIGHTER, "region": "skin"}


def phrase(text: str, kind: str = "single", **more: object) -> dict[str, object]:
    return {"text": text, "language": "en", "kind": kind, "edits": [BRIGHTER], **more}


@pytest.mark.parametrize(
    "file", [language.PHRASES, language.PRODUCT, language.DEVELOPMENT, language.NEGATIONS], ids=lambda file: file.stem
)
def test_phrases_fit_the_vocabulary_and_are_unique(file: Path) -> None:
    phrases = json.loads(file.read_text(encoding="utf-8"))
    assert len({entry["text"].lower() for entry in phrases}) == len(phrases)
    for number, entry in enumerate(phrases):
        for name, sign, region in frozenset().union(*accepted(entry)):
            adjustment = vocabulary().adjustment(name)
            assert region in adjustment.regions, number
            assert sign == 1 or (sign == -1 and adjustment.low < 0), number
        colours = any(vocabulary().adjustment(edit["adjust"]).takes_color for edit in entry["edits"])
        assert file == language.DEVELOPMENT or (entry.get("color") in vocabulary().colors) == colours, number


def test_the_product_set_covers_every_adjustment_in_both_languages() -> None:
    phrases = json.loads(language.PRODUCT.read_text(encoding="utf-8"))
    kinds = Counter((entry["kind"], entry["language"]) for entry in phrases)
    assert kinds == {(kind, tongue): 80 if kind == "beyond" else 150
                     for kind in language.KINDS for tongue in language.LANGUAGES}
    for tongue in language.LANGUAGES:
        said = {edit["adjust"] for entry in phrases if entry["language"] == tongue for edit in entry["edits"]}
        assert said == {adjustment.name for adjustment in vocabulary().adjustments}


def test_phrases_of_the_two_sets_differ() -> None:
    first, second = ({entry["text"].lower() for entry in json.loads(file.read_text(encoding="utf-8"))}
                     for file in (language.PHRASES, language.PRODUCT))
    assert not first & second


def test_a_plan_is_right_if_it_equals_an_alternative() -> None:
    plan = Plan(edits=(Edit(adjust="exposure", amount=0.3, region="skin"),))
    assert cells(plan) not in accepted(phrase("brighten my face"))
    assert cells(plan) in accepted(phrase("brighten my face", alternatives=[[BRIGHTER_SKIN]]))
    assert cells(plan) not in accepted(phrase("brighten my face", alternatives=[[BRIGHTER, BRIGHTER_SKIN]]))


def test_auc_counts_ties_half() -> None:
    assert auc([0.9, 0.5], [0.5, 0.1]) == pytest.approx(0.875)


def test_calibration_error_is_the_gap_within_bins() -> None:
    assert calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, True, False]) == pytest.approx(0.0)
    assert calibration_error([1.0, 0.0], [False, False]) == pytest.approx(0.5)
    assert calibration_error([], []) == 0.0


def test_share_of_nothing_is_none() -> None:
    right = Answer(phrase=phrase("brighter"), found=frozenset(), beyond=0.0, right=True)
    assert share([right]) == 100.0
    assert share([]) is None


def test_report_of_the_embedded_artifact() -> None:
    phrases = [phrase("make me brighter"), phrase("add a unicorn", kind="beyond", edits=[])]
    table = report({"embedded": EMBEDDED}, phrases)
    assert "| embedded | single | 1 |" in table
    assert "| embedded | beyond | 1 | - of 0 |" in table
