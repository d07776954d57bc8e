"""A bench from beginning to report: what to measure, measured as far as it comes, and written down."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converters.bench import machine, report
from converters.bench.arrivals import OpenLoop
from converters.bench.edits import PhotoEdit, edits_of
from converters.bench.journal import Journal
from converters.bench.local import Local, Report
from converters.bench.measured import Measured
from converters.bench.metric import Metric, metrics
from converters.bench.photographs import Photograph
from converters.bench.settings import Settings
from converters.bench.suite import Suite


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What to measure, and where the report goes."""

    settings: Settings
    suite: Suite
    photos: Sequence[Photograph]
    folder: Path

    def run(self, progress: Report, resume: bool) -> Measured:
        """Measure, write the report and return what was measured.

        A KeyboardInterrupt passes through once the report of what there is has been written. Raises OptionError, and
        MissingExtraError when quality can't be measured for want of the extra `bench`.
        """
        cases = self.suite.chosen(self.settings.edits)
        edits = edits_of(cases, self.photos)
        known = metrics() if self.settings.contenders else {}
        missing = {name: why for name, metric in known.items() if (why := metric.missing()) is not None}
        usable = {name: metric for name, metric in known.items() if name not in missing}
        journal = Journal(self.folder, self._identity(edits), resume)
        about = next(journal.of("machine"), None)
        if about is None:
            about = {"kind": "machine", **machine.described()}
            journal.add(about)
        finished = False
        try:
            self._measure(edits, usable, journal, progress)
            finished = True
        finally:
            journal.close()
            measured = self._measured(edits, known, missing, journal, about, finished)
            if measured.quality or measured.times or measured.rates:
                report.write(self.folder, measured)
        return measured

    def _measure(
        self, edits: Sequence[PhotoEdit], usable: Mapping[str, Metric], journal: Journal, progress: Report
    ) -> None:
        if self.settings.contenders:
            from converters.bench.quality import Jury

            jury = Jury(folder=self.folder, contenders=self.settings.contenders, metrics=usable)
            Local(settings=self.settings, edits=edits, journal=journal, report=progress).run(jury)
        if self.settings.node is not None:
            OpenLoop(
                node=self.settings.node, edits=edits, journal=journal, report=progress, seed=self.settings.seed
            ).run()

    def _identity(self, edits: Sequence[PhotoEdit]) -> dict[str, Any]:
        """What a resumption must have in common with what was begun; never the key."""
        node = self.settings.node
        photos = hashlib.sha256(b"".join(photo.pixels.tobytes() for photo in self.photos)).hexdigest()
        return {
            "models": [contender.to_json() for contender in self.settings.contenders],
            "node": None if node is None else [node.url, node.model, [*node.rates], node.seconds],
            "photographs": photos, "suite": [self.suite.name, self.suite.version], "edits": len(edits),
            "rounds": self.settings.rounds, "cold starts": self.settings.cold_starts, "side": self.settings.side,
            "seed": self.settings.seed,
        }  # fmt: skip

    def _measured(
        self,
        edits: Sequence[PhotoEdit],
        known: Mapping[str, Metric],
        missing: Mapping[str, str],
        journal: Journal,
        about: Mapping[str, Any],
        finished: bool,
    ) -> Measured:
        settings, node = self.settings, self.settings.node
        return Measured(
            suite={"name": self.suite.name, "version": self.suite.version, "cases": len(self.suite.cases)},
            settings={
                "edits": len(edits), "rounds": settings.rounds, "cold_starts": settings.cold_starts,
                "side": settings.side, "seed": settings.seed,
            },
            machine={key: value for key, value in about.items() if key != "kind"},
            models=[contender.to_json() for contender in settings.contenders],
            photos=[
                {"stem": photo.stem, "height": photo.pixels.shape[0], "width": photo.pixels.shape[1]}
                for photo in self.photos
            ],
            cases=[edit.case.to_json() for edit in edits],
            edits=_edits(edits, journal), figures={name: asdict(metric.figure) for name, metric in known.items()},
            missing=dict(missing),
            node=None if node is None else {"url": node.url, "model": node.model, "seconds": node.seconds},
            times=[*journal.of("time")], quality=[*journal.of("quality")], sets=[*journal.of("set")],
            cold=[*journal.of("cold")],
            memory=[*journal.of("memory")], rates=[*journal.of("rate")], finished=finished,
        )  # fmt: skip


def _edits(edits: Sequence[PhotoEdit], journal: Journal) -> list[dict[str, Any]]:
    """One line for every picture: which case, which photo, whose, and where it lies."""
    about = {edit.name: edit for edit in edits}
    return [
        {
            "case": about[entry["edit"]].case.id, "photo": about[entry["edit"]].photo.stem, "model": label,
            "picture": model["picture"], "before": entry["before"],
        }
        for entry in journal.of("quality")
        for label, model in entry["models"].items()
    ]  # fmt: skip
