"""Judges results by every metric that can be measured here, and keeps them as pictures for people to vote on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from converters.bench.edits import PhotoEdit
from converters.bench.metric import Evidence, Metric, SetMetric
from converters.bench.photographs import Mask, Picture, on_white
from converters.bench.references import defined, kept, subject_of, wanted
from converters.bench.settings import Contender
from converters.bench.suite import Keep
from edge_runtime.cli import write_file
from edge_runtime.request import EditResult
from edge_runtime.worker_editor import WorkerEditor

PICTURES: Final = "pictures"
_QUALITY: Final = 92


@dataclass(kw_only=True)
class Jury:
    """The metrics, over all models' pictures of each edit. Pictures go into `folder`/pictures."""

    folder: Path
    contenders: tuple[Contender, ...]
    metrics: Mapping[str, Metric]
    _subjects: dict[tuple[str, str], Mask | None] = field(default_factory=dict)

    def judge(self, edit: PhotoEdit, results: dict[str, EditResult], models: dict[str, WorkerEditor]) -> dict[str, Any]:
        """Return the figures of every model, its plan and warnings, and where its picture lies."""
        pictures = {label: on_white(result.image)[0] for label, result in results.items()}
        target, paths = wanted(edit), self._written(edit, pictures)
        judged = {}
        for contender in self.contenders:
            label, result = contender.label, results[contender.label]
            references = {"wanted": target, "parent": pictures.get(contender.parent or "")}
            if result.plan is not None and result.plan.edits:
                references["definition"] = defined(edit.pixels, result.plan.edits)
            evidence = Evidence(
                case=edit.case, plan=result.plan, before=edit.pixels, after=pictures[label],
                references={name: picture for name, picture in references.items() if picture is not None},
                **self._masks(edit, label, models),
            )  # fmt: skip
            figures = {
                name: value for metric in self.metrics.values() for name, value in metric.measure(evidence).items()
            }
            judged[label] = {
                "figures": figures, "plan": None if result.plan is None else result.plan.to_json(),
                "picture": paths[label], "warnings": list(result.warnings),
            }  # fmt: skip
        return {"before": paths[""], "models": judged}

    def judge_all(self, entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
        """Return the figures of all edits together, by model: those of models that have a parent."""
        metrics = {name: metric for name, metric in self.metrics.items() if isinstance(metric, SetMetric)}
        found: dict[str, dict[str, float]] = {}
        for contender in self.contenders:
            if metrics and contender.parent is not None:
                places = [
                    tuple(entry["models"][label]["picture"] for label in (contender.parent, contender.label))
                    for entry in entries
                ]
                pairs = [(self._read(first), self._read(second)) for first, second in places]
                found[contender.label] = {
                    f"{name}_parent": metric.measure_all(pairs) for name, metric in metrics.items()
                }
        return found

    def _read(self, place: str) -> Picture:
        return np.asarray(Image.open(self.folder / place).convert("RGB"))

    def _masks(self, edit: PhotoEdit, label: str, models: dict[str, WorkerEditor]) -> dict[str, Mask | None]:
        """The mask that was given, or else the float parent's (of several models: the first's), says what must stay."""
        given = edit.photo.subject if edit.case.damage is None else None
        found = self._subject(label, edit, models[label]) if given is not None else None
        subject = given
        if given is None and edit.case.keep in (Keep.SUBJECT, Keep.BACKGROUND):
            parents = [contender.parent for contender in self.contenders if contender.parent]
            judge = parents[0] if parents else self.contenders[0].label
            subject = self._subject(judge, edit, models[judge])
        return {
            "kept": kept(edit.case.keep, subject, edit.pixels), "found_subject": found, "given_subject": given,
        }  # fmt: skip

    def _subject(self, label: str, edit: PhotoEdit, model: WorkerEditor) -> Mask | None:
        key = (label, edit.photo.stem)
        if key not in self._subjects:
            self._subjects[key] = subject_of(model, edit.pixels)
        return self._subjects[key]

    def _written(self, edit: PhotoEdit, pictures: Mapping[str, Picture]) -> dict[str, str]:
        """Write the photo and the pictures; returns their places in the report, the photo's under an empty label."""
        place = Path(PICTURES) / edit.case.id / edit.photo.stem
        (self.folder / place).mkdir(parents=True, exist_ok=True)
        paths = {}
        for label, picture in {"": edit.pixels, **pictures}.items():
            buffer = BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY)
            path = place / f"{label or 'before'}.jpg"
            write_file(self.folder / path, buffer.getvalue())
            paths[label] = path.as_posix()
        return paths
