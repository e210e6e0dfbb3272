"""Readiness: probes the state store and Synapse in a loop and holds the result. Decides nothing about events."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from function.outcomes import Reason, TryAgain
from function.telemetry.logs import log, log_failure

PROBE_INTERVAL_OK = 10.0  # while all probes pass
PROBE_INTERVAL_FAILING = 1.0
PROBE_SECONDS = 20.0  # for all probes together

Probe = Callable[[], Awaitable[object]]


class Health:
    """Holds why the function is not ready; starts as not ready."""

    def __init__(self) -> None:
        self.failure: TryAgain | None = TryAgain(Reason.STARTING)
        self._reported = asyncio.Event()

    def report(self, failure: TryAgain) -> None:
        """Marks the service not ready after a dependency failed; events wait until a probe passes."""
        if failure.reason.dependency and self.failure is None:
            self._set(failure)
            self._reported.set()

    async def watch(self, probes: Sequence[Probe]) -> None:
        """Runs the probes in a loop, more often while one fails, and at once after `report`."""
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
            interval = PROBE_INTERVAL_FAILING if self.failure else PROBE_INTERVAL_OK
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reported.wait(), interval)
            self._reported.clear()

    def _set(self, failure: TryAgain | None) -> None:
        before = self.failure.reason if self.failure else None
        self.failure = failure
        if failure and failure.reason is not before:
            log(logging.WARNING, "not_ready", reason=failure.reason.value, detail=failure.detail)
        elif before and not failure:
            log(logging.INFO, "ready")
