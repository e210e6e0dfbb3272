"""Readiness: probes the state store and Synapse in a loop and holds the result. Decides nothing about events.

The watchdog can make the function not ready for a time, although all probes pass. A failed probe is then the reason that shows.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from function.outcomes import Reason, TryAgain
from function.telemetry.logs import log, log_failure

PROBE_INTERVAL_OK = 10.0  # while all probes pass
PROBE_INTERVAL_FAILING = 1.0
PROBE_SECONDS = 20.0  # for all probes together

Probe = Callable[[], Awaitable[object]]


class Health:
    """Holds why the function is not ready; starts as not ready.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: TryAgain | None = TryAgain(Reason.STARTING)
        self._paused: TryAgain | None = None
        self._ready_since: float | None = None
        self._reported, self._known = asyncio.Event(), asyncio.Event()

    @property
    def failure(self) -> TryAgain | None:
        """Why the function is not ready; None if it is."""
        return self._failed or self._paused

    @failure.setter
    def failure(self, failure: TryAgain | None) -> None:
        self._failed = failure
        self._known.set()
        if self.failure:
            self._ready_since = None
        elif self._ready_since is None:
            self._ready_since = self._clock()

    @property
    def ready_since(self) -> float | None:
        """Since when the function is ready without a gap, in monotonic seconds; None if it is not."""
        return self._ready_since

    async def known(self) -> None:
        """Returns once it is known for the first time whether the function is ready."""
        await self._known.wait()

    @contextlib.contextmanager
    def pausing(self, why: TryAgain) -> Iterator[None]:
        """Makes the function not ready inside the block."""
        self._paused, self.failure = why, self._failed
        try:
            yield
        finally:
            self._paused, self.failure = None, self._failed

    def report(self, failure: TryAgain) -> None:
        """Marks the service not ready after a dependency failed; events wait until a probe passes."""
        if failure.reason.dependency and self._failed is None:
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
            interval = PROBE_INTERVAL_FAILING if self._failed else PROBE_INTERVAL_OK
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reported.wait(), interval)
            self._reported.clear()

    def _set(self, failure: TryAgain | None) -> None:
        before = self._failed.reason if self._failed else None
        self.failure = failure
        if failure and failure.reason is not before:
            log(logging.WARNING, "not_ready", reason=failure.reason.value, detail=failure.detail)
        elif before and not failure:
            log(logging.INFO, "ready")
