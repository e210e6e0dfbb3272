"""The dead-letter topic of all pods, and what is needed to tell whether a letter was lost or doubled."""

import asyncio
from dataclasses import dataclass

from function.dead_letters.publish import DeadLetters
from function.kafka.record import KafkaRecord
from function.outcomes import Reason, Rejected
from tests.simulation.chance import Chance
from tests.simulation.loop import Process
from tests.simulation.network import CALL
from tests.simulation.publishing import expect_alive, publish
from tests.simulation.scenario import Hit, Part, Scenario


@dataclass(frozen=True, slots=True)
class SentLetter:
    """A letter in the topic; `call` is the delivery that published it, `acknowledged` whether that delivery knows."""

    record: KafkaRecord
    reason: Reason
    call: int
    acknowledged: bool


class Topic:
    """The dead letters."""

    def __init__(self, scenario: Scenario, loop: asyncio.AbstractEventLoop, chance: Chance) -> None:
        self.calm = False  # no more faults
        self.letters: list[SentLetter] = []
        self.scenario, self.loop, self.chance = scenario, loop, chance
        self.published = 0
        self._faults = {fault.nth: fault.hit for fault in scenario.letters}
        self._outages = [outage for outage in scenario.outages if outage.part is Part.LETTERS]

    def hit(self) -> Hit | None:
        """Returns what hits the next publishing."""
        self.published += 1
        now = self.loop.time()
        if self.calm:
            return None
        if any(one.start <= now < one.start + one.seconds for one in self._outages):
            return Hit.RESET
        return self._faults.get(self.published - 1)


class PodLetters(DeadLetters):
    """A pod's way to the topic."""

    def __init__(self, topic: Topic, process: Process) -> None:
        self._topic_of_all, self._process = topic, process

    async def publish(self, record: KafkaRecord, rejected: Rejected, event_id: str) -> None:
        del event_id
        expect_alive(self._process)
        topic, call = self._topic_of_all, CALL.get()
        hit = topic.hit()
        sent = SentLetter(record, rejected.reason, call, hit is not Hit.LOST)
        delay = topic.scenario.latency * 0.02 * topic.chance.of(91, topic.published)
        await publish(topic.loop, self._process, hit, delay, lambda: topic.letters.append(sent))
