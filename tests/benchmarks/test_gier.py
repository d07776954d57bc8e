"""GIER: rows are read, operators are met by adjustments of their meaning, and the sealed half shows totals only."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import gier
from benchmarks.gier import MEANINGS, SAMPLE, Answer, Request, adjustments, by_operator, read, totals
from converters.nano_banana.vocabulary import vocabulary
from edge_runtime.plan import Edit, Plan

ROWS = """kind,text,operators
request,Brighten the photo,brightness
request,"Sharper, and more contrast",sharpness;contrast
request,make his nose smaller,deform_obj
request,   ,contrast
request,crop it,
request,Blur the background,gaussain_blur@local
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder with a tiny sample."""
    (tmp_path / SAMPLE).parent.mkdir()
    (tmp_path / SAMPLE).write_text(ROWS, encoding="utf-8")
    return tmp_path


def answer(text: str, operators: str, *names: str, beyond: float = 0.0) -> Answer:
    edits = tuple(Edit(adjust=name, amount=0.5) for name in names)
    return Answer(request=Request(text=text, operators=tuple(operators.split(";"))),
                  plan=Plan(edits=edits, beyond=beyond))


def test_meanings_name_adjustments_that_exist() -> None:
    assert frozenset().union(*MEANINGS.values()) <= {adjustment.name for adjustment in vocabulary().adjustments}


def test_rows_without_text_or_operators_are_left_out(data: Path) -> None:
    rows = read(data / SAMPLE)
    assert [row.operators for row in rows] == [
        ("brightness",), ("sharpness", "contrast"), ("deform_obj",), ("gaussain_blur@local",)
    ]


def test_long_texts_are_cut_to_an_instruction(tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text(f"kind,text,operators\nrequest,{'a' * 900},crop\n", encoding="utf-8")
    assert len(read(file)[0].text) == 500


def test_an_operator_is_met_by_its_meaning() -> None:
    assert answer("lighter", "brightness", "midtones").is_met
    assert answer("lighter", "brightness@local", "auto_enhance").is_met
    assert not answer("lighter", "brightness", "contrast").is_met
    assert answer("nicer", "crop;contrast", "contrast").is_met
    assert not answer("nicer", "crop;contrast").is_met


def test_without_an_adjustment_only_beyond_is_right() -> None:
    assert answer("slimmer", "deform_obj", beyond=0.5).is_met
    assert not answer("slimmer", "deform_obj", "exposure", beyond=0.4).is_met


def test_unknown_operators_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown operator 'polish'"):
        adjustments("polish")


def test_the_half_depends_on_the_text_alone() -> None:
    texts = [f"request {number}" for number in range(200)]
    halves = [Request(text=text, operators=("crop",)).half for text in texts]
    assert halves == [Request(text=f" {text.upper()}", operators=("hue", "tint")).half for text in texts]
    assert 60 < halves.count("sealed") < 140


def test_totals_and_operators() -> None:
    answers = [answer("a", "brightness", "exposure"), answer("b", "brightness"), answer("c", "deform_obj"),
               answer("d", "crop;hue", "hue")]
    assert totals(answers).splitlines()[-1] == "| both | 50.0 % of 2 | 33.3 % of 3 | 100.0 % of 1 | 50.0 % of 4 |"
    assert by_operator(answers).splitlines()[2:] == [
        "| brightness | 50.0 % of 2 |  |", "| deform_obj | 0.0 % of 1 | no such adjustment here |"
    ]


def test_the_page_with_the_embedded_artifact(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gier", "--data", str(data), "--operators", "--errors"])
    gier.main()
    shown = capsys.readouterr().out
    assert "| sealed |" in shown and "| operator |" in shown
    sealed = [row.text for row in read(data / SAMPLE) if row.half == "sealed"]
    assert not any(text in shown for text in sealed)
