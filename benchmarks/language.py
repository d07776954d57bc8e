"""Is the plan right? Phrases that were set aside, written without sight of the training grammar.

    python -m benchmarks.language [--model DIR ...] [--phrases FILE ...] [--errors]

A plan is right when its set of (adjustment, sign, region) equals the expected one, or one of the phrase's
`alternatives`: further sets that are equally right. Amounts are not compared.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.table import markdown
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.plan import Plan

PHRASES = Path(__file__).with_name("phrases") / "heldout.json"
"""The first set: the first 27 adjustments, no alternatives."""

PRODUCT = PHRASES.with_name("product.json")
"""The second set: all 60 adjustments and five regions, with alternatives."""

DEVELOPMENT = PHRASES.with_name("development.json")
"""What mistakes are studied on; colours are not written down there."""

NEGATIONS = PHRASES.with_name("negations.json")
"""Wishes that say what must not change or come besides: may be studied, like the set before."""

BEYOND = "beyond"
KINDS = ("single", "compound", BEYOND)
LANGUAGES = ("en", "de")
BINS = 10
ASKED = 0.5
"""From this `beyond` on, the request counts as one for a bigger model."""

Cells = frozenset[tuple[str, int, str]]
"""What is compared: adjustment, sign, region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A phrase, what was made of it, and whether that is right. `beyond` is 0..1."""

    phrase: dict[str, Any]
    found: Cells
    beyond: float
    right: bool

    @property
    def kind(self) -> str:
        """Return single, compound or beyond."""
        return str(self.phrase["kind"])

    @property
    def language(self) -> str:
        """Return en or de."""
        return str(self.phrase["language"])


def cells(plan: Plan) -> Cells:
    """Return what is compared of a plan."""
    return frozenset((edit.adjust, 1 if edit.amount > 0 else -1, edit.region) for edit in plan.edits)


def labelled(edits: Iterable[dict[str, Any]]) -> Cells:
    """Return the same of edits as the files of phrases hold them."""
    return frozenset((edit["adjust"], edit["sign"], edit["region"]) for edit in edits)


def accepted(phrase: dict[str, Any]) -> tuple[Cells, ...]:
    """Return every set that is right, the expected one first."""
    return tuple(labelled(edits) for edits in (phrase["edits"], *phrase.get("alternatives", ())))


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Area under the ROC curve: how often a request that is beyond the model scores above one that isn't."""
    wins = sum((high > low) + 0.5 * (high == low) for high in positive for low in negative)
    return wins / max(1, len(positive) * len(negative))


def calibration_error(scores: Sequence[float], truths: Sequence[bool]) -> float:
    """Expected calibration error over `BINS` bins of equal width: mean |score - share that is true|, 0..1."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for score, truth in zip(scores, truths, strict=True):
        bins[min(BINS - 1, int(score * BINS))].append((score, truth))
    gaps = (abs(sum(score for score, _ in members) - sum(truth for _, truth in members)) for members in bins)
    return sum(gaps) / max(1, len(scores))


def measure(model: Path, phrases: Sequence[dict[str, Any]]) -> tuple[list[Answer], float]:
    """Return an artifact's answers and milliseconds per instruction."""
    with Editor.open(model) as editor:
        editor.plan("warm up")
        start = time.perf_counter()
        plans = [editor.plan(phrase["text"]) for phrase in phrases]
        seconds = time.perf_counter() - start
    answers = [
        Answer(phrase=phrase, found=cells(plan), beyond=plan.beyond, right=cells(plan) in accepted(phrase))
        for phrase, plan in zip(phrases, plans, strict=True)
    ]
    return answers, 1000 * seconds / max(1, len(phrases))


def share(answers: Iterable[Answer]) -> float | None:
    """Return the percentage that is right; None of no answers."""
    right = [answer.right for answer in answers]
    return 100 * sum(right) / len(right) if right else None


def report(models: dict[str, Path], phrases: Sequence[dict[str, Any]], show_errors: bool = False) -> str:
    """Return the tables for some artifacts: right plans by kind and language, and `beyond` by kind."""
    plans, beyond = [], []
    for name, model in models.items():
        answers, milliseconds = measure(model, phrases)
        plans.append([name, *_right_plans(answers), *_beyond(answers), f"{milliseconds:.1f}"])
        beyond += [[name, *row] for row in _kinds(answers)]
        if show_errors:
            _print_errors(answers)
    columns = [f"{kind} {language}".strip() for kind in ("single", "compound", "both") for language in
               (*LANGUAGES, "", "de - en")]
    return "\n\n".join([
        markdown(["artifact", *columns, "AUC of beyond", "ECE of beyond", "ms each"], plans),
        markdown(["artifact", "kind", "phrases", "plan right", "mean beyond", f"beyond >= {ASKED}", "ECE of beyond"],
                 beyond),
    ])


def _right_plans(answers: Sequence[Answer]) -> list[str]:
    columns = []
    for kinds in (("single",), ("compound",), ("single", "compound")):
        chosen = [answer for answer in answers if answer.kind in kinds]
        english, german = (share(a for a in chosen if a.language == language) for language in LANGUAGES)
        gap = "" if english is None or german is None else f"{german - english:+.1f}"
        columns += [_percent(english), _percent(german), _percent(share(chosen)), gap]
    return columns


def _beyond(answers: Sequence[Answer]) -> list[str]:
    scores = {truth: [a.beyond for a in answers if (a.kind == BEYOND) == truth] for truth in (True, False)}
    area = f"{auc(scores[True], scores[False]):.3f}" if all(scores.values()) else "-"  # of one kind there is none
    return [area, _calibration(answers)]


def _kinds(answers: Sequence[Answer]) -> list[list[object]]:
    rows: list[list[object]] = []
    for kind in KINDS:
        chosen = [answer for answer in answers if answer.kind == kind]
        # most requests that are beyond the model have no plan; where one is labelled (erasing), it is asked for
        planned = [answer for answer in chosen if answer.phrase["edits"]]
        asked = sum(answer.beyond >= ASKED for answer in chosen)
        if chosen:
            mean = sum(answer.beyond for answer in chosen) / len(chosen)
            rows.append([kind, len(chosen), f"{_percent(share(planned))} of {len(planned)}", f"{mean:.3f}",
                         f"{100 * asked / len(chosen):.1f} %", _calibration(chosen)])
    return rows


def _calibration(answers: Sequence[Answer]) -> str:
    return f"{calibration_error([a.beyond for a in answers], [a.kind == BEYOND for a in answers]):.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"


def _print_errors(answers: Iterable[Answer]) -> None:
    for answer in answers:
        if not answer.right and answer.kind != BEYOND:
            options = " or ".join(str(sorted(option)) for option in accepted(answer.phrase))
            print(f"{answer.phrase['text']!r}\n    expected {options}\n    got      {sorted(answer.found)}")


def main() -> None:
    """Print the tables of each file of phrases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", help="artifact folder; default: the embedded one")
    parser.add_argument("--phrases", type=Path, action="append",
                        help=f"may be given several times; default: {PRODUCT.name}")
    parser.add_argument("--errors", action="store_true", help="print what went wrong")
    options = parser.parse_args()
    models = {path.name: path for path in options.model or [EMBEDDED]}
    for file in options.phrases or [PRODUCT]:
        phrases = json.loads(file.read_text(encoding="utf-8"))
        print(f"{file.name}: {len(phrases)} phrases", report(models, phrases, options.errors), sep="\n\n", end="\n\n")


if __name__ == "__main__":
    main()
