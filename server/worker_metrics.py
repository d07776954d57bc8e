"""Prometheus metrics of the children that run models: restarts, unloads, and how long opening takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from edge_runtime.worker_editor import Fate
    from edge_runtime.workers import Workers


class WorkerMetrics(Collector):
    """The present values, read when scraped."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        """Return the present values."""
        restarts = CounterMetricFamily("imgedit_worker_restarts", "Processes lost.", labels=["model", "reason"])
        unloads = CounterMetricFamily("imgedit_model_unloads", "Models unloaded.", labels=["model", "reason"])
        opening = GaugeMetricFamily("imgedit_model_load_seconds", "Of the last opening.", labels=["model"])
        fates: dict[str, list[Fate]] = {}
        for editor in self._workers.editors:  # while a model changes over, two have its name
            fates.setdefault(editor.name, []).append(editor.fate)
        for name, found in fates.items():
            opening.add_metric([name], found[-1].opening_seconds)
            _count(restarts, name, sum((Counter(fate.restarts) for fate in found), Counter()))
            _count(unloads, name, sum((Counter(fate.unloads) for fate in found), Counter()))
        return (restarts, unloads, opening)


def _count(family: CounterMetricFamily, name: str, counts: Mapping[str, int]) -> None:
    for reason, count in counts.items():
        family.add_metric([name, reason], count)
