"""What a trace holds: a span for each batch, in it one for each user, in that one for each request to Synapse.

Names and attributes come from closed sets: types, outcomes, reasons, verbs, statuses, counts. No id, name, address or text
of an error gets in; not even a `tracestate`, which is free text. A record's own `traceparent` becomes a link: its trace
began elsewhere, and one user's events of a batch may come from several.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import httpx
from opentelemetry import context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

from function import __version__
from function.homeserver.measured import current_verb, status_of
from function.outcomes import EventResult, Outcome
from function.telemetry.traces import Ended, Traces

_W3C = TraceContextTextMapPropagator()  # and not the global one, which would carry foreign baggage to Synapse


def otlp_tracing() -> Traces:
    """Traces that go where OTEL_EXPORTER_OTLP_ENDPOINT says, from a thread of their own."""
    ours = Resource.create({SERVICE_NAME: "matrix-account-sync", SERVICE_VERSION: __version__})
    wanted = OTELResourceDetector().detect()  # OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
    provider = TracerProvider(resource=ours.merge(wanted), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Spans(provider)


class Spans(Traces):
    """Traces by OpenTelemetry's SDK.

    Args:
        provider: makes the spans and hands them on.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("matrix-account-sync", __version__)

    def around(self, app: ASGIApp) -> ASGIApp:
        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            shown = dict(scope["headers"]).get(b"traceparent", b"") if scope["type"] == "http" else b""
            token = context.attach(_W3C.extract({"traceparent": shown.decode("latin-1")}))
            try:
                await app(scope, receive, send)
            finally:
                context.detach(token)

        return traced

    def calling(self, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return _Calling(transport, self)

    @contextlib.contextmanager
    def batch(self, size: int) -> Iterator[Ended]:
        with self.span("batch", SpanKind.CONSUMER) as span:
            span.set_attribute("records", size)
            yield lambda results: set_result(span, results)

    @contextlib.contextmanager
    def user(self, types: Sequence[str], traceparents: Sequence[str]) -> Iterator[Ended]:
        with self.span("user", links=_links(traceparents)) as span:
            span.set_attribute("types", sorted(set(types)))
            yield lambda results: set_result(span, results)

    @contextlib.contextmanager
    def span(self, name: str, kind: SpanKind = SpanKind.INTERNAL, links: Sequence[Link] = ()) -> Iterator[Span]:
        """A span that keeps no exception: the text of one may hold anything."""
        with self._tracer.start_as_current_span(
            name, kind=kind, links=links, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span

    def flush(self) -> None:
        self._provider.force_flush()


class _Calling(httpx.AsyncBaseTransport):
    """A transport around another one, whose requests are spans."""

    def __init__(self, transport: httpx.AsyncBaseTransport, spans: Spans) -> None:
        self._transport, self._spans = transport, spans

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with self._spans.span(f"synapse {current_verb()}", SpanKind.CLIENT) as span:
            span.set_attribute("http.request.method", request.method)
            carried: dict[str, str] = {}
            _W3C.inject(carried)
            request.headers["traceparent"] = carried["traceparent"]
            try:
                response = await self._transport.handle_async_request(request)
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, status_of(error)))
                raise
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= 400:
                span.set_status(StatusCode.ERROR)
            return response

    async def aclose(self) -> None:
        await self._transport.aclose()


def set_result(span: Span, results: Iterable[EventResult]) -> None:
    told = list(results)
    for outcome, count in Counter(result.outcome for result in told).items():
        span.set_attribute(f"outcome.{outcome.value}", count)
    if reasons := sorted({result.failure.reason.value for result in told if result.failure}):
        span.set_attribute("reasons", reasons)
    if any(result.outcome in {Outcome.RETRY, Outcome.DEAD_LETTER} for result in told):
        span.set_status(StatusCode.ERROR)


def _links(traceparents: Sequence[str]) -> list[Link]:
    contexts = (
        get_current_span(_W3C.extract({"traceparent": shown}, context.Context())).get_span_context()
        for shown in dict.fromkeys(traceparents)
        if shown
    )
    return [Link(found) for found in contexts if found.is_valid]
