"""Does the plan do what people asked for on GIER? Requests by people, with the operators that editors used.

    python -m benchmarks.gier --data FOLDER [--model DIR] [--operators] [--errors]

Reads FOLDER/instructions/gier_sample.csv (columns kind, text, operators; operators separated by `;`). An operator is
met when the plan holds an adjustment of the same meaning, in any region and direction: GIER gives neither a direction
nor a region this model knows. The texts are split by a hash: `open`, whose errors may be looked at (--errors) and
which --operators shows by operator, and `sealed`, of which there are only totals.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from benchmarks.table import markdown
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.plan import Plan

SAMPLE = Path("instructions") / "gier_sample.csv"
HALVES = ("open", "sealed")
ASKED = 0.5
"""From this `beyond` on, the model has said that more was wanted."""

LONGEST_CHARACTERS = 500
"""Of a request that is read; nano-banana takes 512 bytes."""

LOCAL = "@local"
"""GIER's mark of an operator that was used on a part of the photo."""

_LIGHT = frozenset({"exposure", "midtones", "shadows", "highlights", "whites", "blacks", "auto_exposure"})
_RANGES = frozenset({"reds", "yellows", "greens", "blues", "purples"})
_COLOUR_SHIFT = _RANGES | {"warmth", "tint", "hue", "auto_white_balance", "teal_orange", "golden_hour", "cross_process"}
_BLUR = frozenset({"blur", "tilt_shift"})
_BACKGROUND = frozenset({"remove", "fill"})

MEANINGS: dict[str, frozenset[str]] = {
    "brightness": _LIGHT | {"auto_enhance", "night"},
    "lightness": _LIGHT | {"auto_enhance", "night"},
    "exposure": _LIGHT,
    "contrast": frozenset({"contrast", "clarity", "auto_contrast", "blacks", "whites", "dehaze", "hdr", "noir", "fade",
                           "auto_enhance"}),
    "saturation": _RANGES | {"saturation", "vibrance", "black_and_white", "noir", "pastel", "fade", "auto_enhance"},
    "hue": _COLOUR_SHIFT,
    "tint": _COLOUR_SHIFT | {"sepia", "cyanotype", "vintage"},
    "sharpness": frozenset({"sharpen", "clarity", "deblur"}),
    "inpaint_obj": frozenset({"inpaint"}),
    "color_bg": _BACKGROUND,
    "gaussain_blur": _BLUR,
    "radial_blur": _BLUR,
    "facet_blur": _BLUR,
    "denoise": frozenset({"denoise", "deblock"}),
    "dehaze": frozenset({"dehaze"}),
    "crop": frozenset({"crop"}),
    "rotate": frozenset({"rotate"}),
    "flip": frozenset({"flip_horizontal", "flip_vertical"}),
    "black&white": frozenset({"black_and_white", "noir"}),
    "edge": frozenset({"sketch"}),
    "deform_obj": frozenset(),
    "flip_obj": frozenset(),
    "rotate_obj": frozenset(),
}
"""Operator as GIER spells it, without the mark: adjustments of that meaning. Written from the meaning of the words,
before any result was seen. An empty set: there is no such adjustment here, and saying so (`beyond`) is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A row of the sample."""

    text: str
    operators: tuple[str, ...]

    @property
    def half(self) -> str:
        """Return open or sealed: by the text alone, so that the same text is never in both."""
        return HALVES[sha256(self.text.strip().lower().encode()).digest()[0] % 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A request and the plan that was made of it."""

    request: Request
    plan: Plan

    def meets(self, operator: str) -> bool:
        """Say whether the plan does what the operator does, or that it can't where nothing here can."""
        meaning = adjustments(operator)
        if not meaning:
            return self.plan.beyond >= ASKED
        return any(edit.adjust in meaning for edit in self.plan.edits)

    @property
    def is_met(self) -> bool:
        """Say whether at least one of the operators is met."""
        return any(self.meets(operator) for operator in self.request.operators)


def adjustments(operator: str) -> frozenset[str]:
    """Return the adjustments that belong to an operator; raises ValueError for an unknown one."""
    name = operator.removesuffix(LOCAL)
    if name not in MEANINGS:
        raise ValueError(f"unknown operator {operator!r}; known are {', '.join(MEANINGS)}")
    return MEANINGS[name]


def read(file: Path) -> list[Request]:
    """Return the rows that have a text and an operator; texts as long as an instruction may be."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [
            Request(text=row["text"][:LONGEST_CHARACTERS],
                    operators=tuple(filter(None, row["operators"].split(";"))))
            for row in csv.DictReader(stream)
        ]
    return [row for row in rows if row.text.strip() and row.operators]


def answers_of(model: Path, requests: Sequence[Request]) -> list[Answer]:
    """Return the plans of an artifact."""
    with Editor.open(model) as editor:
        return [Answer(request=request, plan=editor.plan(request.text)) for request in requests]


def totals(answers: Sequence[Answer]) -> str:
    """Return the table of totals: rows of one operator with and without those that nothing here can do, and all."""
    rows = []
    for half in (*HALVES, "both"):
        chosen = [answer for answer in answers if half in (answer.request.half, "both")]
        single = [answer for answer in chosen if len(answer.request.operators) == 1]
        doable = [answer for answer in single if adjustments(answer.request.operators[0])]
        several = [answer for answer in chosen if len(answer.request.operators) > 1]
        rows.append([half, *(_share(group) for group in (doable, single, several, chosen))])
    return markdown(["half", "one operator that has an adjustment", "one operator", "several operators, one met",
                     "all rows, one met"], rows)


def by_operator(answers: Sequence[Answer]) -> str:
    """Return the table of rows of one operator, the most frequent first, those without an adjustment last."""
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        if len(answer.request.operators) == 1:
            groups.setdefault(answer.request.operators[0], []).append(answer)
    ordered = sorted(groups, key=lambda operator: (not adjustments(operator), -len(groups[operator]), operator))
    rows = [
        [operator, _share(groups[operator]), "" if adjustments(operator) else "no such adjustment here"]
        for operator in ordered
    ]
    return markdown(["operator", "in the plan", "note"], rows)


def _share(answers: Sequence[Answer]) -> str:
    met = sum(answer.is_met for answer in answers)
    return f"{100 * met / len(answers):.1f} % of {len(answers)}" if answers else "-"


def _print_errors(answers: Sequence[Answer]) -> None:
    for answer in answers:
        if len(answer.request.operators) == 1 and not answer.is_met:
            edits = [(edit.adjust, round(edit.amount, 2), edit.region) for edit in answer.plan.edits]
            print(f"{answer.request.operators[0]}: {answer.request.text!r}\n    got {edits}, "
                  f"beyond {answer.plan.beyond:.2f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=f"folder with {SAMPLE}")
    parser.add_argument("--model", type=Path, default=EMBEDDED, help="artifact folder; default: the embedded one")
    parser.add_argument("--operators", action="store_true", help="also the share per operator, of the open half")
    parser.add_argument("--errors", action="store_true", help="print what was missed in the open half")
    options = parser.parse_args()
    answers = answers_of(options.model, read(options.data / SAMPLE))
    shown = [answer for answer in answers if answer.request.half == HALVES[0]]
    if options.errors:
        _print_errors(shown)
    print(totals(answers))
    if options.operators:
        print("", by_operator(shown), sep="\n")


if __name__ == "__main__":
    main()
