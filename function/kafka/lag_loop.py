"""Asks Kafka for the group's lag in a loop, shows it as metrics, and has daprd join the group again if the watchdog says so.

Runs alongside the events and knows nothing of them. What Kafka does not tell is unknown; nothing waits for it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from function.kafka.lag import Group, PartitionLag, Place, Refused
from function.kafka.watchdog import Watchdog
from function.outcomes import Reason, TryAgain
from function.telemetry.logs import log, log_failure
from function.telemetry.metrics import Metrics

JOIN_SECONDS = 60.0  # in which daprd joins the group
NOT_SEEN = "no member of the group, or too many, have KAFKA_CLIENT_ID as clientId"

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Pace:
    """The seconds between two looks, and how long the function is not ready so that daprd leaves the group.

    daprd notices after three probes, one a second. Kafka then waits for the session timeout of its members, 10 s.
    """

    look: float = 15.0
    pause_least: float = 10.0
    pause_most: float = 30.0
    ask: float = 1.0  # between two questions whether they have left


PACE = Pace()


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the loop needs of the function's readiness: since when it is ready, and how to end that for a time."""

    ready_since: Callable[[], float | None]
    pausing: Callable[[TryAgain], AbstractContextManager[None]]


class LagLoop:
    """Watches one group.

    Args:
        group: is asked in a thread.
        roles: the metric's label by topic.
        watchdog: None if it is off.
        readiness: of the function.
        metrics: show the lag.
        pace: of the loop.
        clock: monotonic seconds.
    """

    def __init__(
        self, group: Group, roles: Mapping[str, str], watchdog: Watchdog | None, readiness: Readiness, metrics: Metrics,
        pace: Pace = PACE, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._group, self._roles, self._watchdog, self._readiness = group, roles, watchdog, readiness
        self._metrics, self._pace, self._clock = metrics, pace, clock
        self._thread = ThreadPoolExecutor(1, "kafka-lag")
        self._looked_at: float | None = None
        self._said, self._said_off = "", ""

    async def watch(self) -> None:
        """Looks in a loop, until it is cancelled. Never raises."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(self._pace.look)
        finally:
            self._metrics.lag(None)
            self._group.stop()
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def look(self) -> None:
        """Looks once. Never raises."""
        try:
            await self._look()
        except Exception as error:
            self._unknown(error)

    async def _look(self) -> None:
        found = await self._ask(self._group.lag)
        self._said = ""
        self._metrics.lag({(self._roles[place[0]], place[1]): one.lag for place, one in found.items()})
        if self._watchdog:
            await self._heal(self._watchdog, found)

    async def _heal(self, watchdog: Watchdog, found: Mapping[Place, PartitionLag]) -> None:
        try:
            stalled = await self._stalled(watchdog, found)
        except (TryAgain, Refused) as error:  # the lag is known all the same
            watchdog.reset()
            self._say_off(f"Kafka does not tell the group's members: {_detail(error)}")
            return
        if stalled:
            await self._rejoin(watchdog, stalled)

    async def _stalled(self, watchdog: Watchdog, found: Mapping[Place, PartitionLag]) -> dict[Place, PartitionLag]:
        """Returns the partitions that daprd has stopped reading."""
        now = self._clock()
        ready_since, last = self._readiness.ready_since(), self._looked_at
        self._looked_at = now
        if last is None or (ready_since and ready_since > last):
            watchdog.reset()
        if ready_since is None or not any(one.lag for one in found.values()):
            watchdog.reset()
            return {}
        members = await self._ask(self._group.members)
        places = watchdog.stalled(found, members, self._metrics.waiting.deliveries.copy(), now)
        if members.stable and now - ready_since > JOIN_SECONDS:
            self._say_off("" if watchdog.sees_members else NOT_SEEN)
        return {place: found[place] for place in places if await self._is_stalled(watchdog, place, found[place])}

    async def _is_stalled(self, watchdog: Watchdog, place: Place, found: PartitionLag) -> bool:
        if await self._ask(self._group.has_record, place, found):
            return True
        watchdog.nothing_to_read(place, found.end)
        return False

    async def _rejoin(self, watchdog: Watchdog, stalled: Mapping[Place, PartitionLag]) -> None:
        for (topic, partition), found in stalled.items():
            log(logging.ERROR, "partition_rejoined", topic=topic, partition=partition, size=found.lag)
            self._metrics.rejoined()
        why = ", ".join(f"{topic}/{partition}" for topic, partition in stalled)
        began = self._clock()
        with self._readiness.pausing(TryAgain(Reason.REJOINING, f"daprd had stopped reading {why}")):
            await asyncio.sleep(self._pace.pause_least)
            while True:
                if self._clock() - began >= self._pace.pause_most or not await self._in_group(watchdog.client_id):
                    break
                await asyncio.sleep(self._pace.ask)
        for place in stalled:
            watchdog.report(place, self._clock())

    async def _in_group(self, client_id: str) -> bool:
        """Returns whether a member of this pod is in the group; also if Kafka does not say."""
        try:
            members = await self._ask(self._group.members)
        except (TryAgain, Refused):
            return True
        return any(member.client_id == client_id for member in members.by_id.values())

    async def _ask(self, question: Callable[..., _Answer], *about: object) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, question, *about)

    def _unknown(self, error: Exception) -> None:
        self._metrics.lag(None)
        if self._watchdog:
            self._watchdog.reset()
        detail = _detail(error)
        if not detail:
            log_failure("lag_failed", error)
        elif detail != self._said:
            log(logging.WARNING, "lag_unknown", detail=detail)
        self._said = detail

    def _say_off(self, why: str) -> None:
        """Logs why the watchdog can't see what it needs; once, until it changes."""
        if why and why != self._said_off:
            log(logging.WARNING, "watchdog_off", detail=why)
        self._said_off = why


def _detail(error: Exception) -> str:
    """Returns the name of what Kafka said; "" for any other error."""
    return error.detail if isinstance(error, TryAgain) else str(error) if isinstance(error, Refused) else ""
