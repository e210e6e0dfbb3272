"""One state store for all pods, with ETags and transactions that are all or nothing. What a pod has sent is carried out."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from typing import Any

from function.dapr.state_store import Conflict, StateStore, Value
from function.outcomes import Reason, TryAgain
from tests.simulation.chance import Chance
from tests.simulation.loop import Process
from tests.simulation.network import Strikes
from tests.simulation.scenario import Hit, Part, Scenario, StoreFault

DOOMED_SECONDS = 5.0  # until a doomed pod is started again
_NO_PROCESS = Context()
_USER = re.compile(r"[0-9a-f-]{36}")


class Values:
    """What the store holds: bytes and version by key."""

    def __init__(self, scenario: Scenario, loop: asyncio.AbstractEventLoop, chance: Chance, strikes: Strikes) -> None:
        self.calm = False  # no more faults
        self.held: dict[str, tuple[bytes, int]] = {}
        self.writes = self.conflicts = 0
        self.scenario, self.loop, self.chance, self.strikes = scenario, loop, chance, strikes
        self.nth: Counter[tuple[int, bool]] = Counter()
        self.faults: dict[tuple[int, bool, int], StoreFault] = {
            (one.slot, one.write, one.nth): one for one in scenario.stores
        }
        self.on_user: Callable[[str, bytes], None] = lambda _user_id, _value: None
        self._chores: list[asyncio.Event] = []
        self._outages = [outage for outage in scenario.outages if outage.part is Part.STORE]

    def value(self, key: str) -> Value:
        value, version = self.held.get(key, (b"", 0))
        return value, str(version or "")

    def put(self, values: Mapping[str, Value]) -> None:
        """Writes all values or none. Raises Conflict."""
        if any(etag != self.value(key)[1] for key, (_, etag) in values.items()):
            self.conflicts += 1
            raise Conflict
        self.writes += 1
        for key, (value, _) in values.items():
            self.held[key] = value, self.held.get(key, (b"", 0))[1] + 1
            if _USER.fullmatch(key):
                self.on_user(key, value)
        if any(not _USER.fullmatch(key) for key in values):
            for news in self._chores:
                news.set()

    def chores(self) -> asyncio.Event:
        """Returns an event that is set whenever a value changed that is no user's: a list of things to do later."""
        self._chores.append(asyncio.Event())
        if any(not _USER.fullmatch(key) for key in self.held):
            self._chores[-1].set()
        return self._chores[-1]

    def hit(self, slot: int, *, write: bool) -> tuple[Hit | None, float]:
        """Returns what hits the pod's next operation."""
        nth = self.nth[slot, write]
        self.nth[slot, write] += 1
        if self.calm:
            return None, 0.0
        now = self.loop.time()
        if any(one.start <= now < one.start + one.seconds for one in self._outages):
            return Hit.RESET, 0.0
        fault = self.faults.get((slot, write, nth))
        return (fault.hit, fault.seconds) if fault else (None, 0.0)


class PodStore(StateStore):
    """A pod's way to the store."""

    def __init__(self, values: Values, process: Process) -> None:
        self._values, self._process = values, process

    async def read_values(self, wanted: Iterable[str]) -> dict[str, Value]:
        keys = list(wanted)
        found: dict[str, Value] = await self._operation(
            lambda: {key: self._values.value(key) for key in keys}, write=False
        )
        return found

    async def write_values(self, values: Mapping[str, Value]) -> None:
        await self._operation(lambda: self._values.put(dict(values)), write=True)

    async def probe(self) -> None:
        self._alive()
        if self._values.hit(-1, write=True)[0]:
            raise _unavailable()

    def _alive(self) -> None:
        if self._process.dead:
            raise _unavailable()

    async def _operation(self, effect: Callable[[], Any], *, write: bool) -> Any:
        self._alive()
        values, process = self._values, self._process
        hit, seconds = values.hit(process.slot, write=write)
        if write and process.doomed:
            hit, seconds = Hit.KILL_BEFORE, DOOMED_SECONDS
        if hit in {Hit.KILL_BEFORE, Hit.FREEZE_BEFORE}:
            values.strikes.strike(process, hit, seconds)
            await asyncio.sleep(0)
            self._alive()
        answer: asyncio.Future[Any] = values.loop.create_future()
        key = (81, process.slot, write, values.nth[process.slot, write])
        there = values.scenario.latency * 0.02 * values.chance.of(*key) ** 2
        there = seconds if hit is Hit.SLOW else there
        back = values.scenario.latency * 0.01 * values.chance.of(*key, 1)
        if hit is Hit.LATE:  # refused now, and carried out all the same some time later
            values.loop.call_later(seconds, _late, effect, context=_NO_PROCESS)
            hit = Hit.RESET
        values.loop.call_later(there, _arrive, values, hit, effect, back, answer, context=_NO_PROCESS)
        if hit in {Hit.KILL_SENT, Hit.FREEZE_SENT}:
            values.strikes.strike(process, hit, seconds)
        found = await answer
        self._alive()
        return found


def _arrive(
    values: Values, hit: Hit | None, effect: Callable[[], Any], back: float, answer: "asyncio.Future[Any]"
) -> None:
    found: Any = None
    try:
        if hit is not Hit.RESET:
            found = effect()
        if hit in {Hit.RESET, Hit.LOST}:
            found = _unavailable()
    except Conflict as conflict:
        found = conflict
    values.loop.call_later(back, _answer, answer, found, context=_NO_PROCESS)


def _late(effect: Callable[[], Any]) -> None:
    with contextlib.suppress(Conflict):
        effect()


def _answer(answer: "asyncio.Future[Any]", found: Any) -> None:
    if answer.done():
        return
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)


def _unavailable() -> TryAgain:
    return TryAgain(Reason.STATE_UNAVAILABLE, "simulated")
