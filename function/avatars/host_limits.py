"""Limits what the image hosts may cost together and each: requests in flight, and time.

A host that fails is left alone for a while. So is a host that answers, but slowly: users wait for their avatars, and
their batch waits for them. Knows no HTTP; says only when a request may be sent.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from function.avatars.image_url import Origin
from function.outcomes import Reason, Rejected

HOST_BACKOFF_SECONDS = 30.0  # without requests after a failure: a dead host costs one request's time, not one an event
IN_FLIGHT = 16  # requests; each may hold an image of the largest size in memory
HOST_IN_FLIGHT = 8  # so that one host leaves half of them to the others
SLOW_IN_FLIGHT = 8  # of all hosts whose last request was slow, so that any number of them leave half to the others

SLOW_AFTER = 1.0  # seconds of a request; what is above counts against its host, what is below in favor of it
SUSPECT_SECONDS = 5.0  # above SLOW_AFTER, over a host's requests: then none waits for it for over QUEUE_SECONDS
SLOW_SECONDS = 20.0  # likewise: then the host is left alone
FORGIVEN = SLOW_SECONDS / 60  # of these seconds, in each second: a slow image now and then makes no slow host
QUEUE_SECONDS = 10.0  # a user has 30
TRIAL_SECONDS = 2.0  # the first request after the pause must end in this time


@dataclass(slots=True)
class _Host:
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HOST_IN_FLIGHT))
    # Held by the one request that waits for a slot of all, so that the hosts take turns; and by the request of a trial.
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    on_trial: bool = False  # from a pause until a request shows that the host works: one request at a time
    paused_until: float = 0.0
    why: str = ""
    slow: float = 0.0  # seconds, as they were at `counted_at`
    counted_at: float = 0.0
    last: float = 0.0  # seconds that the last request took
    running: list[float] = field(default_factory=list)  # when each request in flight began

    @property
    def seems_slow(self) -> bool:
        """Returns whether the next request may well be slow."""
        return self.on_trial or self.last > SLOW_AFTER

    def slow_at(self, now: float) -> float:
        """Returns the seconds above SLOW_AFTER that are not forgiven yet, without those in flight."""
        return max(0.0, self.slow - FORGIVEN * (now - self.counted_at))

    def is_slow(self, now: float) -> bool:
        """Returns whether the host has had its time, with what the requests in flight have taken so far."""
        in_flight = sum(max(0.0, now - begun - SLOW_AFTER) for begun in self.running)
        return self.slow_at(now) + in_flight > SLOW_SECONDS


class HostLimits:
    """Keeps the state of each host. Belongs to one event loop.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._slow_slots = asyncio.Semaphore(SLOW_IN_FLIGHT)
        self._hosts: defaultdict[Origin, _Host] = defaultdict(_Host)

    @asynccontextmanager
    async def slot(self, origin: Origin) -> AsyncIterator[None]:
        """Waits until a request may be sent to the host, and measures it. A redirect to another host is another request.

        A host that answers in SLOW_AFTER on average is never refused a request, however many wait.

        Raises:
            Rejected: AVATAR_UNAVAILABLE, the host failed or was slow a moment ago.
        """
        host, asked_at = self._hosts[origin], self._clock()
        self._refuse_paused(host)
        async with host.slots, AsyncExitStack() as turn, AsyncExitStack() as slots:
            await turn.enter_async_context(host.turn)
            for limit in (self._slow_slots, self._slots) if host.seems_slow else (self._slots,):
                self._refuse(host, asked_at)
                await slots.enter_async_context(limit)
            self._refuse(host, asked_at)
            if not host.on_trial:
                await turn.aclose()
            with self._measured(host):
                yield

    def fail(self, origin: Origin, detail: str) -> Rejected:
        """Leaves the host alone for HOST_BACKOFF_SECONDS; returns the rejection of the avatar that showed it."""
        self._pause(self._hosts[origin], "failed a moment ago")
        return Rejected(Reason.AVATAR_UNAVAILABLE, detail)

    def _refuse_paused(self, host: _Host) -> None:
        now = self._clock()
        if now >= host.paused_until and host.is_slow(now):
            self._pause(host, "slow a moment ago")
        if now < host.paused_until:
            raise Rejected(Reason.AVATAR_UNAVAILABLE, host.why)

    def _refuse(self, host: _Host, asked_at: float) -> None:
        """Refuses the request if the host was paused while it waited, or if it waited too long for a slow host."""
        self._refuse_paused(host)
        now = self._clock()
        if now - asked_at > QUEUE_SECONDS and host.slow_at(now) > SUSPECT_SECONDS:
            raise Rejected(Reason.AVATAR_UNAVAILABLE, f"slow: others waited {QUEUE_SECONDS:.0f} s for the host")

    @contextmanager
    def _measured(self, host: _Host) -> Iterator[None]:
        begun, complete = self._clock(), True
        host.running.append(begun)
        try:
            yield
        except asyncio.CancelledError:
            complete = False  # says nothing in favor of the host
            raise
        finally:
            host.running.remove(begun)
            self._count(host, self._clock() - begun, complete=complete)

    def _count(self, host: _Host, seconds: float, *, complete: bool) -> None:
        """Adds one request's time. Fast ones weigh against slow ones, but are not saved up."""
        now, above = self._clock(), seconds - SLOW_AFTER
        if now < host.paused_until:  # by another request, or by this one's failure
            return
        if complete or above > 0:
            host.slow, host.counted_at, host.last = host.slow_at(now) + above, now, seconds
        if host.is_slow(now) or (host.on_trial and seconds > TRIAL_SECONDS):
            self._pause(host, "slow a moment ago")
        elif complete:
            host.on_trial = False

    def _pause(self, host: _Host, why: str) -> None:
        now = self._clock()
        host.paused_until, host.why, host.on_trial = now + HOST_BACKOFF_SECONDS, why, True
        host.slow, host.counted_at = 0.0, now  # paid for
