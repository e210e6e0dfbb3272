"""The results topic of all pods, and what the state store and Synapse know of what must be told there."""

import asyncio
import json
from contextvars import Context
from dataclasses import dataclass

from function.accounts.user_store import load
from function.changes import Change, id_of
from function.evidence.message import message
from function.evidence.topic import Topic
from function.outcomes import Reason, TryAgain
from tests.simulation.chance import Chance
from tests.simulation.loop import Process
from tests.simulation.network import Strikes
from tests.simulation.scenario import Hit, Part, Scenario

_NO_PROCESS = Context()


@dataclass(frozen=True, slots=True)
class Message:
    """A message in the topic, as a consumer reads it."""

    user_id: str
    id: str
    done: tuple[str, ...]
    event_id: str | None
    at: str


class Results:
    """The topic, and what the users' states in the store said was to be published, in that order."""

    def __init__(self, scenario: Scenario, loop: asyncio.AbstractEventLoop, chance: Chance, strikes: Strikes) -> None:
        self.calm = False  # no more faults
        self.messages: list[Message] = []
        self.confirmed: dict[str, list[str]] = {}
        self.scenario, self.loop, self.chance, self.strikes = scenario, loop, chance, strikes
        self.published = 0
        self._faults = {fault.nth: fault for fault in scenario.results}
        self._outages = [outage for outage in scenario.outages if outage.part is Part.LETTERS]

    def hit(self) -> tuple[Hit | None, float]:
        """Returns what hits the next publishing."""
        self.published += 1
        now = self.loop.time()
        if self.calm:
            return None, 0.0
        if any(one.start <= now < one.start + one.seconds for one in self._outages):
            return Hit.RESET, 0.0
        fault = self._faults.get(self.published - 1)
        return (fault.hit, fault.seconds) if fault else (None, 0.0)

    def saved(self, user_id: str, value: bytes) -> None:
        """Told each state of a user that the store takes."""
        known = self.confirmed.setdefault(user_id, [])
        known += [one for change in load(value)[0].unpublished or () if (one := id_of(user_id, change)) not in known]


class PodResults(Topic):
    """A pod's way to the topic."""

    def __init__(self, results: Results, process: Process) -> None:
        self._results, self._process = results, process

    async def publish(self, user_id: str, change: Change) -> None:
        self._alive()
        results = self._results
        hit, seconds = results.hit()
        if hit in {Hit.KILL_BEFORE, Hit.FREEZE_BEFORE}:
            results.strikes.strike(self._process, hit, seconds)
            await asyncio.sleep(0)
            self._alive()
        body = json.loads(message(user_id, f"@{user_id}:test.example", change))
        data = body["data"]
        sent = Message(body["subject"], body["id"], tuple(data["done"]), data["event_id"], data["at"])
        answer: asyncio.Future[None] = results.loop.create_future()
        delay = results.scenario.latency * 0.02 * results.chance.of(95, results.published)

        def arrive() -> None:
            if hit is not Hit.RESET:
                results.messages.append(sent)
            if not answer.done():
                answer.set_result(None)

        results.loop.call_later(delay, arrive, context=_NO_PROCESS)
        if hit in {Hit.KILL_SENT, Hit.FREEZE_SENT}:
            results.strikes.strike(self._process, hit, seconds)
        await answer
        self._alive()
        if hit in {Hit.RESET, Hit.LOST}:
            raise TryAgain(Reason.PUBLISH_FAILED, "simulated")

    def _alive(self) -> None:
        if self._process.dead:
            raise TryAgain(Reason.PUBLISH_FAILED, "this process is dead")
