"""Traces by OpenTelemetry, sent as OTLP over HTTP: a span a request, below it the wait and the stages of its edit.

Stages were measured where the edit was done; here they are laid end to end, up to the moment that it was finished.
Attributes follow OpenTelemetry's conventions for HTTP. Pictures, instructions and keys are in none of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from edge_runtime import __version__
from edge_runtime.request import EditResult

_NANOSECONDS = 1_000_000_000
_PARENT = TraceContextTextMapPropagator()


class OtlpTrace:
    """One request's span."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer, self._span = tracer, span

    def edited(self, result: EditResult, waited_seconds: float | None) -> None:
        """Add the wait and the stages as spans, and say by what and where the edit was done."""
        route = result.route
        self._span.set_attribute("nanoedge.site", route.offer.site if route else "local")
        self._span.set_attribute("nanoedge.model", route.offer.name if route else result.model)
        stages = [("wait", waited_seconds or 0.0), *result.seconds.items()]
        began = time.time_ns() - round(_NANOSECONDS * sum(seconds for _, seconds in stages))
        parent = set_span_in_context(self._span)
        for name, seconds in stages:
            ended = began + round(_NANOSECONDS * seconds)
            self._tracer.start_span(name, parent, start_time=began).end(ended)
            began = ended

    def ended(self, status: int) -> None:
        """End the span; statuses of 500 and more are errors of ours."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OtlpTracing:
    """Spans of a provider, which is this tracing's to end."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider, self._tracer = provider, provider.get_tracer("nanoedge", __version__)

    def begin(self, method: str, route: str, request_id: str, headers: Mapping[str, str]) -> OtlpTrace:
        """Begin a request's span, below the one that its `traceparent` header names."""
        carrier = {name.lower(): value for name, value in headers.items()}
        attributes = {"http.request.method": method, "http.route": route, "nanoedge.request_id": request_id}
        span = self._tracer.start_span(
            f"{method} {route}", _PARENT.extract(carrier), SpanKind.SERVER, attributes=attributes
        )
        return OtlpTrace(self._tracer, span)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def open_tracing(address: str) -> OtlpTracing:
    """Return a tracing that sends to a collector, such as http://localhost:4318/v1/traces."""
    resource = Resource.create({"service.name": "nanoedge", "service.version": __version__})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address)))
    return OtlpTracing(provider)


TRACER = open_tracing
