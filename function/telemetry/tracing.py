"""Spans: one for each batch, in it one for each user, in that one for each request to Synapse.

Names and attributes come from closed sets: types, outcomes, reasons, operations, statuses, counts. No id, name, address or
error text gets in, nor a `tracestate`, which is free text. A record's own `traceparent` becomes a link, since its trace
began at the producer and one user's events of a batch may come from several.

The API package is always installed, the SDK and the exporter only with the extra `traces`. While tracing is off, no span
object is made: a no-op span costs 14 us (timeit, opentelemetry-api 1.40), a null context 1 us, and most users of a batch
need no I/O at all.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

import httpx
from opentelemetry import context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

from function import __version__
from function.outcomes import EventResult

NAME = "matrix-account-sync"

_W3C = TraceContextTextMapPropagator()  # and not the global one, which would carry foreign baggage to Synapse

SetResults = Callable[[Iterable[EventResult]], None]
SetStatus = Callable[
    [str, int | None], None
]  # the status as the metrics count it; the HTTP status, None without an answer


class Traces:
    """Makes the spans of this service.

    Args:
        tracer: makes the spans; None while tracing is off.
        flush: sends the spans that are left; blocks.
    """

    def __init__(self, tracer: Tracer | None = None, flush: Callable[[], object] = lambda: None) -> None:
        self._tracer = tracer
        self.flush = flush

    def extract_context(self, app: ASGIApp) -> ASGIApp:
        """Returns the application with its batches in the sidecar's trace."""
        if self._tracer is None:
            return app

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            shown = dict(scope["headers"]).get(b"traceparent", b"") if scope["type"] == "http" else b""
            token = context.attach(_W3C.extract({"traceparent": shown.decode("latin-1")}))
            try:
                await app(scope, receive, send)
            finally:
                context.detach(token)

        return traced

    def batch(self, size: int) -> AbstractContextManager[SetResults]:
        """Opens a span around a batch of `size` records."""
        return contextlib.nullcontext(_no_results) if self._tracer is None else _batch(self._tracer, size)

    def user(self, types: Sequence[str], traceparents: Sequence[str]) -> AbstractContextManager[SetResults]:
        """Opens a span around one user's events, with their types and a link to each record's trace."""
        return contextlib.nullcontext(_no_results) if self._tracer is None else _user(self._tracer, types, traceparents)

    def request(self, operation: str, request: httpx.Request) -> AbstractContextManager[SetStatus]:
        """Opens a span around a request to Synapse or MAS, and puts it into the request's `traceparent`."""
        return (
            contextlib.nullcontext(_no_status) if self._tracer is None else _request(self._tracer, operation, request)
        )


OFF = Traces()


def otlp_tracing() -> Traces:
    """Returns spans that go where OTEL_EXPORTER_OTLP_ENDPOINT says, from a thread of their own.

    Raises:
        ImportError: the extra `traces` is not installed.
    """
    # An optional extra, which costs memory and start time: imported only where tracing is on.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    own = Resource.create({SERVICE_NAME: NAME, SERVICE_VERSION: __version__})
    from_environment = OTELResourceDetector().detect()  # OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
    provider = TracerProvider(resource=own.merge(from_environment), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider.get_tracer(NAME, __version__), provider.force_flush)


@contextlib.contextmanager
def _batch(tracer: Tracer, size: int) -> Iterator[SetResults]:
    with _span(tracer, "batch", SpanKind.CONSUMER) as span:
        span.set_attribute("records", size)
        yield lambda results: _set_results(span, results)


@contextlib.contextmanager
def _user(tracer: Tracer, types: Sequence[str], traceparents: Sequence[str]) -> Iterator[SetResults]:
    with _span(tracer, "user", links=_links(traceparents)) as span:
        span.set_attribute("types", sorted(set(types)))
        yield lambda results: _set_results(span, results)


def _named(operation: str) -> str:
    return operation.replace("_", " ", 1) if operation.startswith("mas_") else f"synapse {operation}"


@contextlib.contextmanager
def _request(tracer: Tracer, operation: str, request: httpx.Request) -> Iterator[SetStatus]:
    with _span(tracer, _named(operation), SpanKind.CLIENT) as span:
        span.set_attribute("http.request.method", request.method)
        carried: dict[str, str] = {}
        _W3C.inject(carried)
        request.headers["traceparent"] = carried["traceparent"]
        yield lambda status, code: _set_status(span, status, code)


def _span(
    tracer: Tracer, name: str, kind: SpanKind = SpanKind.INTERNAL, links: Sequence[Link] = ()
) -> AbstractContextManager[Span]:
    """Opens a span that keeps no exception, whose text could hold anything."""
    return tracer.start_as_current_span(
        name, kind=kind, links=links, record_exception=False, set_status_on_exception=False
    )


def _set_results(span: Span, results: Iterable[EventResult]) -> None:
    known = list(results)
    for outcome, count in Counter(result.outcome for result in known).items():
        span.set_attribute(f"outcome.{outcome.value}", count)
    if reasons := sorted({result.failure.reason.value for result in known if result.failure}):
        span.set_attribute("reasons", reasons)
        span.set_status(StatusCode.ERROR)  # only a dead letter and a retry have a reason


def _set_status(span: Span, status: str, code: int | None) -> None:
    if code is None:
        span.set_status(Status(StatusCode.ERROR, status))
        return
    span.set_attribute("http.response.status_code", code)
    if code >= 400:
        span.set_status(StatusCode.ERROR)


def _links(traceparents: Sequence[str]) -> list[Link]:
    contexts = (
        get_current_span(_W3C.extract({"traceparent": shown}, context.Context())).get_span_context()
        for shown in dict.fromkeys(traceparents)
        if shown
    )
    return [Link(found) for found in contexts if found.is_valid]


def _no_results(_: Iterable[EventResult]) -> None:
    pass


def _no_status(_: str, __: int | None) -> None:
    pass
