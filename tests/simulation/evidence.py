"""The results topic of all pods, and what the state store and Synapse know of what must be told there."""

import asyncio
import json
from dataclasses import dataclass

from function.accounts.user_store import load
from function.changes import Change, id_of
from function.evidence.message import message
from function.evidence.topic import Topic
from tests.simulation.chance import Chance
from tests.simulation.loop import Process
from tests.simulation.network import Strikes
from tests.simulation.publishing import expect_alive, publish
from tests.simulation.scenario import Hit, Part, Scenario


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
        expect_alive(self._process)
        results, process = self._results, self._process
        hit, seconds = results.hit()
        if hit in {Hit.KILL_BEFORE, Hit.FREEZE_BEFORE}:
            results.strikes.strike(process, hit, seconds)
            await asyncio.sleep(0)
            expect_alive(process)
        body = json.loads(message(user_id, f"@{user_id}:test.example", change))
        data = body["data"]
        sent = Message(body["subject"], body["id"], tuple(data["done"]), data["event_id"], data["at"])
        delay = results.scenario.latency * 0.02 * results.chance.of(95, results.published)

        def on_sent() -> None:
            if hit in {Hit.KILL_SENT, Hit.FREEZE_SENT}:
                results.strikes.strike(process, hit, seconds)

        await publish(results.loop, process, hit, delay, lambda: results.messages.append(sent), on_sent)
