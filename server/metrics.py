"""Prometheus metrics of one application, in a registry of its own (tests make many applications in a process)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge_runtime.breaker import BreakerState
from edge_runtime.errors import (
    AccessError,
    ImageError,
    NanoedgeError,
    QuotaError,
    RouteForbiddenError,
    RouteSpentError,
    UrlError,
)
from edge_runtime.request import EditResult
from edge_runtime.route import Obstacle
from server.worker_metrics import WorkerMetrics

if TYPE_CHECKING:
    from edge_runtime.remote import Remote
    from edge_runtime.workers import Workers

_SECONDS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 120)
_REASONS = {
    None: "better", Obstacle.DEADLINE: "deadline", Obstacle.MEMORY: "oom", Obstacle.CAPABILITY: "unsupported",
    Obstacle.FAILED: "failed", Obstacle.MODEL: "model", Obstacle.POLICY: "policy", Obstacle.QUEUE: "busy",
    Obstacle.BREAKER: "breaker",
}
_ACCESS = (AccessError, QuotaError, RouteForbiddenError, RouteSpentError)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class _Remotes(Collector):
    """What providers were sent and took, how often they failed, and the state of their breakers."""

    def __init__(self, remotes: Sequence[Remote]) -> None:
        self._remotes = remotes

    def collect(self) -> Iterable[Metric]:
        """Return the present values."""
        sent = CounterMetricFamily("imgedit_egress_bytes", "Bytes of bodies sent.", labels=["provider"])
        cost = CounterMetricFamily("imgedit_cost_usd", "Price of finished edits.", labels=["provider"])
        failed = CounterMetricFamily("imgedit_upstream_errors", "Edits that failed.", labels=["provider", "code"])
        state = GaugeMetricFamily("imgedit_breaker_state", "1: in this state.", labels=["provider", "state"])
        for remote in self._remotes:
            name, tally = remote.settings.name, remote.tally
            sent.add_metric([name], tally.sent_bytes)
            cost.add_metric([name], tally.cost_usd)
            for code, count in tally.errors.items():
                failed.add_metric([name, code], count)
            for one in BreakerState:
                state.add_metric([name, one.value], float(remote.offer().breaker is one))
        return (sent, cost, failed, state)


class _Kept(Collector):
    """How much is kept on the disk, and how much may be."""

    def __init__(self, kept: Mapping[str, Callable[[], int | None]], limit: int) -> None:
        self._kept, self._limit = kept, limit

    def collect(self) -> Iterable[Metric]:
        """Return the present values."""
        size = GaugeMetricFamily("imgedit_kept_bytes", "Bytes of what is kept.", labels=["what"])
        limit = GaugeMetricFamily("imgedit_kept_limit_bytes", "The most of it that is kept.", labels=["what"])
        for what, count in self._kept.items():
            try:
                found = count()
            except NanoedgeError:  # what can't be read is said where it is used
                continue
            if found is not None:
                size.add_metric([what], found)
                limit.add_metric([what], self._limit)
        return (size, limit)


class Metrics:
    """Counters and histograms with bounded labels: a route is a rule of ours, never a path that a client made up."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "imgedit_http_requests", "Answers given.", ("route", "method", "code"), registry=registry
        )
        self._request_seconds = Histogram(
            "imgedit_http_request_duration_seconds", "From the request's last byte to the answer's first.",
            ("route",), buckets=_SECONDS, registry=registry,
        )
        self._edit_seconds = Histogram(
            "imgedit_edit_duration_seconds", "Stages of finished edits.", ("stage", "site", "model"),
            buckets=_SECONDS, registry=registry,
        )
        self._wait_seconds = Histogram(
            "imgedit_queue_wait_seconds", "Time an edit waited for its turn.", buckets=_SECONDS, registry=registry
        )
        self._preview_seconds = Histogram(
            "imgedit_preview_latency_seconds", "From a request to its early picture.", buckets=_SECONDS,
            registry=registry,
        )
        self._rejected = Counter(
            "imgedit_queue_rejected", "Requests refused for want of capacity.", ("reason",), registry=registry
        )
        self._images = Counter("imgedit_image_rejected", "Images refused.", ("rule",), registry=registry)
        self._urls = Counter("imgedit_ssrf_blocked", "Image URLs refused.", ("rule",), registry=registry)
        self._access = Counter(
            "imgedit_access_refused", "Requests refused by a key, its scope, rate, rule or quota.", ("code",),
            registry=registry,
        )
        self._loaded = Gauge("imgedit_model_loaded", "1: ready.", ("model", "version"), registry=registry)
        self._refused = Gauge(
            "imgedit_model_refused", "1: active in the model store, and not served.", ("model", "version"),
            registry=registry,
        )
        self._fallbacks = Counter(
            "imgedit_fallback", "Edits that a provider did, by what stood against the first model here.", ("reason",),
            registry=registry,
        )
        self._build = Gauge("imgedit_build_info", "Version of the server.", ("version",), registry=registry)

    def watch(self, waiting: Callable[[], float], running: Callable[[], float], version: str) -> None:
        """Read the lane when scraped."""
        depth = Gauge("imgedit_queue_depth", "Edits that wait.", ("queue",), registry=self._registry)
        depth.labels("edit").set_function(waiting)
        Gauge("imgedit_inflight", "Edits that run.", registry=self._registry).set_function(running)
        self._build.labels(version).set(1)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def watch_kept(self, kept: Mapping[str, Callable[[], int | None]], limit: int) -> None:
        """Read how much is kept, of what, when scraped; None where that isn't known."""
        self._registry.register(_Kept(kept, limit))

    def watch_remotes(self, remotes: Iterable[Remote]) -> None:
        """Read the providers' counters when scraped."""
        self._registry.register(_Remotes(tuple(remotes)))

    def watch_workers(self, workers: Workers) -> None:
        """Read what became of the models' processes when scraped."""
        self._registry.register(WorkerMetrics(workers))

    def edited(self, result: EditResult, waited_seconds: float | None) -> None:
        """Count one finished edit; `waited_seconds` is None for one that needed no turn here."""
        if waited_seconds is not None:
            self._wait_seconds.observe(waited_seconds)
        route = result.route
        # What a provider calls its model may be anything; the label is the name that the operator gave.
        site, model = (route.offer.site, route.offer.name) if route else ("local", result.model)
        for stage, seconds in result.seconds.items():
            self._edit_seconds.labels(stage, site, model).observe(seconds)
        if route and site != "local":
            here = (other.obstacle for other in route.rejected if other.offer.site == "local")
            reason = next(here, None)
            self._fallbacks.labels(_REASONS.get(reason, "other")).inc()

    def previewed(self, seconds: float) -> None:
        """Count one early picture."""
        self._preview_seconds.observe(seconds)

    def refused(self, error: NanoedgeError) -> None:
        """Count an input that was refused, by the error's code."""
        if isinstance(error, ImageError):
            self._images.labels(error.code).inc()
        elif isinstance(error, UrlError):
            self._urls.labels(error.code).inc()
        elif isinstance(error, _ACCESS):
            self._access.labels(error.code).inc()
        elif error.status == 503:
            self._rejected.labels(error.code).inc()

    def models(self, loaded: Iterable[tuple[str, str, bool]], refused: Iterable[tuple[str, str]]) -> None:
        """Say which models are there, as (name, version, ready), and which the store names and can't be served."""
        self._loaded.clear()
        self._refused.clear()
        for name, version, ready in loaded:
            self._loaded.labels(name, version).set(int(ready))
        for name, version in refused:
            self._refused.labels(name, version).set(1)

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self._registry)
