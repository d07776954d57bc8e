"""Prometheus metrics of one application, in a registry of its own (tests make many applications in a process)."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from edge_runtime.errors import ImageError, NanoedgeError, UrlError
from edge_runtime.request import EditResult

_SECONDS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 120)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


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
        self._rejected = Counter(
            "imgedit_queue_rejected", "Requests refused for want of capacity.", ("reason",), registry=registry
        )
        self._images = Counter("imgedit_image_rejected", "Images refused.", ("rule",), registry=registry)
        self._urls = Counter("imgedit_ssrf_blocked", "Image URLs refused.", ("rule",), registry=registry)
        self._loaded = Gauge("imgedit_model_loaded", "1: ready.", ("model", "version"), registry=registry)
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

    def edited(self, result: EditResult, waited_seconds: float) -> None:
        """Count one finished edit."""
        self._wait_seconds.observe(waited_seconds)
        for stage, seconds in result.seconds.items():
            self._edit_seconds.labels(stage, "local", result.model).observe(seconds)

    def refused(self, error: NanoedgeError) -> None:
        """Count an input that was refused, by the error's code."""
        if isinstance(error, ImageError):
            self._images.labels(error.code).inc()
        elif isinstance(error, UrlError):
            self._urls.labels(error.code).inc()
        elif error.status == 503:
            self._rejected.labels(error.code).inc()

    def model(self, name: str, version: str, ready: bool) -> None:
        """Say whether a model is ready."""
        self._loaded.labels(name, version).set(int(ready))

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self._registry)
