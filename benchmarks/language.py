"""Is the plan right? Phrases that were set aside, written without sight of the training grammar.

    python -m benchmarks.language [--model DIR ...] [--phrases FILE] [--errors]

A plan is right when its set of (adjustment, sign, region) equals the expected one. Amounts are not compared.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.table import markdown
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.plan import Plan

PHRASES = Path(__file__).with_name("phrases") / "heldout.json"


def cells(plan: Plan) -> frozenset[tuple[str, int, str]]:
    """Return what is compared: adjustment, sign, region."""
    return frozenset((edit.adjust, 1 if edit.amount > 0 else -1, edit.region) for edit in plan.edits)


def expected(phrase: dict[str, Any]) -> frozenset[tuple[str, int, str]]:
    """Return the same of a phrase that was set aside."""
    return frozenset((edit["adjust"], edit["sign"], edit["region"]) for edit in phrase["edits"])


def auc(positive: list[float], negative: list[float]) -> float:
    """Area under the ROC curve: how often a request that is beyond the model scores above one that isn't."""
    wins = sum((high > low) + 0.5 * (high == low) for high in positive for low in negative)
    return wins / max(1, len(positive) * len(negative))


def measure(model: Path, phrases: list[dict[str, Any]], show_errors: bool = False) -> dict[str, Any]:
    """Return right and total by (kind, language), the AUC of `beyond` and milliseconds per instruction."""
    right: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    scores: dict[bool, list[float]] = {True: [], False: []}
    with Editor.open(model) as editor:
        editor.plan("warm up")
        start = time.perf_counter()
        plans = [editor.plan(phrase["text"]) for phrase in phrases]
        seconds = time.perf_counter() - start
    for phrase, plan in zip(phrases, plans, strict=True):
        scores[phrase["kind"] == "beyond"].append(plan.beyond)
        if phrase["kind"] == "beyond":
            continue
        key = (phrase["kind"], phrase["language"])
        total[key] += 1
        right[key] += cells(plan) == expected(phrase)
        if show_errors and cells(plan) != expected(phrase):
            print(f"{phrase['text']!r}\n    expected {sorted(expected(phrase))}\n    got      {sorted(cells(plan))}")
    return {
        "right": right, "total": total, "auc": auc(scores[True], scores[False]),
        "milliseconds": 1000 * seconds / len(phrases),
    }


def report(models: dict[str, Path], phrases: list[dict[str, Any]], show_errors: bool = False) -> str:
    """Return the table for some artifacts."""
    rows = []
    for name, model in models.items():
        found = measure(model, phrases, show_errors)
        row: list[object] = [name]
        for kind in ("single", "compound"):
            for languages in (("en",), ("de",), ("en", "de")):
                keys = [(kind, language) for language in languages]
                share = sum(found["right"][key] for key in keys) / max(1, sum(found["total"][key] for key in keys))
                row.append(f"{100 * share:.1f} %")
        rows.append([*row, f"{found['auc']:.3f}", f"{found['milliseconds']:.1f}"])
    header = ["artifact", "single en", "single de", "single", "compound en", "compound de", "compound",
              "AUC of beyond", "ms each"]
    return markdown(header, rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", help="artifact folder; default: the embedded one")
    parser.add_argument("--phrases", type=Path, default=PHRASES)
    parser.add_argument("--errors", action="store_true", help="print what went wrong")
    options = parser.parse_args()
    models = {path.name: path for path in options.model or [EMBEDDED]}
    print(report(models, json.loads(options.phrases.read_text(encoding="utf-8")), options.errors))


if __name__ == "__main__":
    main()
