"""The suite says what is right, so it is held to the vocabulary, and to what a suite is for."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from converters.bench.edits import edits_of
from converters.bench.references import wanted
from converters.bench.suite import EDIT100, JudgedBy, Keep, cells, load
from converters.nano_banana.vocabulary import vocabulary
from edge_runtime.editor import BEYOND_THRESHOLD, Editor
from edge_runtime.errors import OptionError
from edge_runtime.plan import parse_plan

SUITE = load()


def test_a_hundred_cases_of_eight_scenarios_in_both_languages() -> None:
    assert len(SUITE.cases) >= 100
    assert len({case.scenario for case in SUITE.cases}) >= 8
    languages = Counter(case.language for case in SUITE.cases)
    assert languages["en"] == languages["de"]
    assert len({case.instruction for case in SUITE.cases}) >= len(SUITE.cases) - 2  # "sepia" is both
    assert len({case.id for case in SUITE.cases}) == len(SUITE.cases)


def test_every_plan_fits_the_vocabulary() -> None:
    for case in SUITE.cases:
        for plan in (case.plan, *case.alternatives):
            parse_plan({"edits": [edit.to_json() for edit in plan]}, vocabulary())


def test_what_must_stay_is_what_the_plan_leaves_alone() -> None:
    untouched = {Keep.SUBJECT: {"background"}, Keep.BACKGROUND: {"subject", "skin"}, Keep.EVERYTHING: set()}
    for case in SUITE.cases:
        if case.keep is not Keep.NOTHING:
            assert {edit.region for edit in case.plan} <= untouched[case.keep], case.id


def test_a_case_is_judged_by_something_that_it_has(photos) -> None:
    for edit in edits_of(SUITE.cases, photos):
        judged = edit.case.judged_by
        if judged is JudgedBy.WANTED:
            assert wanted(edit) is not None, edit.case.id
        if judged is JudgedBy.PRESERVATION:
            assert edit.case.keep is not Keep.NOTHING, edit.case.id


def test_the_embedded_model_understands_nearly_all_of_it() -> None:
    """It is an easy suite, in plain words; hard phrases are those of benchmarks/phrases."""
    with Editor.open() as editor:
        right = []
        for case in SUITE.cases:
            plan = editor.plan(case.instruction)
            right.append(cells(plan) in case.accepted if case.plan else plan.beyond >= BEYOND_THRESHOLD)
    assert sum(right) >= 0.95 * len(right)


def test_a_few_edits_are_of_many_scenarios_and_both_languages() -> None:
    few = SUITE.chosen(22)
    assert len(few) == 22
    assert len({case.scenario for case in few}) == len({case.scenario for case in SUITE.cases})
    assert Counter(case.language for case in few) == {"en": 11, "de": 11}
    assert len(SUITE.chosen(None)) == len(SUITE.cases)


def test_both_languages_of_a_wish_are_on_one_photo(photos) -> None:
    found: dict[str, set[str]] = {}
    for edit in edits_of(SUITE.cases, photos):
        found.setdefault(edit.case.wish, set()).add(edit.photo.stem)
    assert all(len(stems) == 1 for stems in found.values())
    assert len(set().union(*found.values())) == len(photos)


def test_a_file_that_is_no_suite_is_refused(tmp_path) -> None:
    data = json.loads(EDIT100.read_text(encoding="utf-8"))
    del data["wishes"][3]["de"]
    broken = tmp_path / "suite.json"
    broken.write_text(json.dumps(data))
    with pytest.raises(OptionError, match="suite can't be read"):
        load(broken)
