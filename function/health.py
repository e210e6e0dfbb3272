"""Whether the world is fit to work in, and the watch that finds out. Decides nothing about events."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from function.outcomes import Reason, TryAgain
from function.telemetry.logs import log, log_failure

PROBE_INTERVAL_OK = 10.0  # how often the world is probed while all is well
PROBE_INTERVAL_FAILING = 1.0  # and while it is not
PROBE_SECONDS = 20.0  # what all the probes may take together

# What a probe can find again. A conflict or a rate limit is one user's affair; a failed publish has no probe.
READINESS_REASONS = frozenset({
    Reason.STARTING, Reason.SECRET_UNAVAILABLE, Reason.TOKEN_REFUSED, Reason.SERVER_NAME_MISMATCH,
    Reason.SYNAPSE_UNAVAILABLE, Reason.SYNAPSE_UNEXPECTED, Reason.STATE_UNAVAILABLE,
})  # fmt: skip

Probe = Callable[[], Awaitable[object]]


class Health:
    """The one place that knows whether the function is ready. Starts as not ready."""

    def __init__(self) -> None:
        self.failure: TryAgain | None = TryAgain(Reason.STARTING)
        self._news = asyncio.Event()

    def report(self, failure: TryAgain) -> None:
        """Says that the world broke under an event; from now on no event is tried until a probe finds it well."""
        if failure.reason in READINESS_REASONS and self.failure is None:
            self._set(failure)
            self._news.set()

    async def watch(self, probes: Sequence[Probe]) -> None:
        """Probes for ever: seldom while all is well, often while it is not."""
        while True:
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    for probe in probes:
                        await probe()
            except TryAgain as failure:
                self._set(failure)
            except TimeoutError:
                self._set(TryAgain(Reason.TOO_SLOW, f"a probe took over {PROBE_SECONDS:.0f} s"))
            except Exception as error:
                log_failure("probe_failed", error)
                self._set(TryAgain(Reason.UNEXPECTED, type(error).__name__))
            else:
                self._set(None)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), PROBE_INTERVAL_FAILING if self.failure else PROBE_INTERVAL_OK)
            self._news.clear()

    def _set(self, failure: TryAgain | None) -> None:
        before = self.failure.reason if self.failure else None
        self.failure = failure
        if failure and failure.reason is not before:
            log(logging.WARNING, "not_ready", reason=failure.reason.value, detail=failure.detail)
        elif before and not failure:
            log(logging.INFO, "ready")
