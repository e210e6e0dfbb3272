"""Traces as the other parts see them, and as long as they are off: nothing. tracing.py has those that are on."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import httpx
from starlette.types import ASGIApp

from function.outcomes import EventResult

Ended = Callable[[Iterable[EventResult]], None]  # takes what became of the events


class Traces:
    """No traces."""

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, whose batches belong to the sidecar's trace."""
        return app

    def calling(self, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        """The transport, whose requests are spans and carry the trace on."""
        return transport

    def batch(self, size: int) -> AbstractContextManager[Ended]:  # noqa: ARG002 - doing nothing takes no arguments
        """A span around a batch of so many records."""
        return contextlib.nullcontext(_nothing)

    def user(self, types: Sequence[str], traceparents: Sequence[str]) -> AbstractContextManager[Ended]:  # noqa: ARG002
        """A span around one user's events: of such types, whose records name such traces."""
        return contextlib.nullcontext(_nothing)

    def flush(self) -> None:
        """Sends what is left; blocks."""


def _nothing(_: Iterable[EventResult]) -> None:
    pass


OFF = Traces()
