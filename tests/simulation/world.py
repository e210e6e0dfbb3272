"""Puts one run together: pods, Kafka, Synapse, MAS, the state store and another client, and plays a scenario on them."""

import asyncio
import random
from contextvars import Context
from dataclasses import dataclass

import stamina

from function.homeserver.requests import TRIES
from function.outcomes import Reason
from tests.simulation.chance import Chance
from tests.simulation.clients import Clients, MasClients
from tests.simulation.evidence import Results
from tests.simulation.homeserver import Homeserver
from tests.simulation.kafka import Kafka
from tests.simulation.letters import Topic
from tests.simulation.loop import NoProgress, Process, VirtualLoop
from tests.simulation.mas import SimulatedMas
from tests.simulation.network import Network, Transport
from tests.simulation.pod import MasWay, Pod, Ways, chores_left
from tests.simulation.scenario import Action, Blow, Hit, Part, PodFault, Scenario
from tests.simulation.store import Values
from tests.simulation.synapse import SimulatedSynapse

DRAIN_SECONDS = 1800.0  # of virtual time after the last fault, for everything to be processed
LATE_SECONDS, SETTLE_ROUNDS = 130.0, 60
HOUR = 3900.0  # until the deletion limit lets deletions pass again
MAX_REPLAYS = 12
SESSION_SECONDS = (6.0, 15.0)  # until the group notices that a member is gone
MAX_STEPS = 400_000


@dataclass(frozen=True, slots=True)
class Applied:
    """What another client did, and when."""

    action: Action
    when: float


class World:
    """One run."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.loop = VirtualLoop(scenario.seed, MAX_STEPS)
        self.chance = Chance(scenario.seed)
        self.network = Network(scenario, self.loop, self.chance, self)
        self.homeserver = Homeserver(self.loop, self.chance, delegates=scenario.mas)
        self.synapse = SimulatedSynapse(
            self.homeserver, self.loop, lambda user: bool(self.mas and self.mas.is_ended(user))
        )
        self.mas = self._open_mas() if scenario.mas else None
        self.clients = (
            MasClients(scenario, self.homeserver, self.mas, self.chance)
            if self.mas
            else Clients(scenario, self.homeserver)
        )
        self.values = Values(scenario, self.loop, self.chance, self)
        self.topic = Topic(scenario, self.loop, self.chance)
        self.results = Results(scenario, self.loop, self.chance, self)
        if scenario.evidence:
            self.values.on_user = self.results.saved
        self.kafka = Kafka(scenario, self.loop, self.chance)
        self.pods: dict[int, Pod] = {}
        self.processes: list[Process] = []
        self.applied: list[Applied] = []
        self.stuck = ""
        self.steps = 0
        self.replayed = 0
        self._calm = False
        self.ways = Ways(Transport(self.network, self.synapse), self._way_to_mas())
        self.clients.begin()

    def _open_mas(self) -> SimulatedMas:
        return SimulatedMas(self.scenario.seed, self.loop, self.network, self.synapse, self.homeserver)

    def _way_to_mas(self) -> MasWay | None:
        return MasWay(Transport(self.network, self.mas), self.mas.provider) if self.mas else None

    def play(self) -> None:
        """Runs the scenario to its end; what did not end is in `stuck`."""
        random.seed(self.scenario.seed)  # the pauses between retries come from there
        with stamina.set_testing(testing=True, attempts=TRIES):
            try:
                self.loop.run_until_complete(self._play())
            except NoProgress as none:
                self.stuck = self.stuck or str(none)
            finally:
                self.steps = self.loop.steps
                self._close()

    async def _play(self) -> None:
        scenario = self.scenario
        for slot in range(scenario.pods):
            self._start(slot)
        self._schedule()
        await asyncio.sleep(scenario.end + 1)
        self._end_faults()
        await self._drain()
        for _ in range(MAX_REPLAYS):
            if self.stuck or not self._replay():
                break
            await self._drain()
            if scenario.limit:
                await asyncio.sleep(HOUR)
        await self._settle()

    def _schedule(self) -> None:
        """Sets the times of what the scenario says."""
        scenario = self.scenario
        for event in scenario.events:
            self.loop.call_at(event.when, self.kafka.produce, event)
        for action in scenario.actions:
            self.loop.call_at(action.when, self._act, action)
        for blow in scenario.blows:
            self.loop.call_at(blow.when, self._blow, blow)
        for when in scenario.replays:
            self.loop.call_at(when, self._replay)
        for outage in scenario.outages:
            if self.mas and outage.part is Part.JOBS:
                self.loop.call_at(outage.start, self.mas.pace, outage)
                self.loop.call_at(outage.start + outage.seconds, self.mas.pace)

    def _end_faults(self) -> None:
        self._calm = self.network.calm = self.values.calm = self.topic.calm = self.results.calm = True
        if self.mas:
            self.mas.pace()

    async def _settle(self) -> None:
        """Waits until nothing is carried out late any more, and the code has nothing left to check."""
        await asyncio.sleep(LATE_SECONDS)
        for _ in range(SETTLE_ROUNDS):
            if not chores_left(self.values):
                return
            await asyncio.sleep(LATE_SECONDS)
        self.stuck = self.stuck or f"users are still rechecked {SETTLE_ROUNDS * LATE_SECONDS:.0f} s after the end"

    async def _drain(self) -> None:
        if not await self.kafka.until_drained(DRAIN_SECONDS):
            self.stuck = f"{self.kafka.waiting} records still wait {DRAIN_SECONDS:.0f} s after the last fault"

    def _start(self, slot: int) -> None:
        process = Process(slot, len(self.processes))
        self.processes.append(process)
        self.pods[slot] = Pod(self.scenario, self.loop, process, self.ways, self.values, self.topic, self.results)
        self.kafka.join(self.pods[slot])

    def _replay(self) -> int:
        """Replays every dead letter that was not replayed, as an operator does once the causes are gone."""
        new = self.topic.letters[self.replayed :]
        self.replayed = len(self.topic.letters)
        entries = {id(entry.record): entry for entry in self.kafka.entries}
        count = 0
        for letter in new:
            entry = entries[id(letter.record)]
            hopeless = letter.reason in {Reason.INVALID_PAYLOAD, Reason.AVATAR_INVALID}
            if not hopeless:
                self.kafka.produce(entry.event, entry)
                count += 1
        return count

    # --- what befalls pods

    def strike(self, process: Process, hit: Hit, seconds: float) -> None:
        """Does to a pod what a fault asks for, at once. Called in the pod's own context, so it leaves that first."""
        if not self._calm and not process.dead:
            Context().run(self._struck, self.pods[process.slot], hit, seconds)

    def _struck(self, pod: Pod, hit: Hit, seconds: float) -> None:
        if hit in {Hit.KILL_BEFORE, Hit.KILL_SENT}:
            self._kill(pod, seconds)
        elif hit in {Hit.FREEZE_BEFORE, Hit.FREEZE_SENT}:
            self._freeze(pod, seconds)
        elif hit is Hit.MOVE:
            self.kafka.rebalance(moved=True)

    def _blow(self, blow: PodFault) -> None:
        pod = self.pods.get(blow.slot)
        if pod is None or pod.process.dead:
            return
        if blow.blow is Blow.KILL:
            self._kill(pod, blow.seconds)
        elif blow.blow is Blow.FREEZE:
            self._freeze(pod, blow.seconds)
        else:
            self.kafka.rebalance(moved=True)

    def _kill(self, pod: Pod, seconds: float) -> None:
        process = pod.process
        self.loop.kill(process)
        gone = self.chance.between(*SESSION_SECONDS, 41, process.number)
        self.loop.call_later(min(gone, seconds), self._gone, pod, True)
        self.loop.call_later(seconds, self._start, process.slot)

    def _freeze(self, pod: Pod, seconds: float) -> None:
        if pod.process.frozen:
            return
        self.loop.freeze(pod.process, seconds)
        gone = self.chance.between(*SESSION_SECONDS, 42, pod.process.number)
        if seconds > gone:
            self.loop.call_later(gone, self._gone, pod, False)
            self.loop.call_later(seconds + 1, self._back, pod)

    def _gone(self, pod: Pod, dead: bool) -> None:
        self.kafka.leave(pod, dead=dead)

    def _back(self, pod: Pod) -> None:
        if not pod.process.dead and all(member.pod is not pod for member in self.kafka.members):
            self.kafka.join(pod)

    def _act(self, action: Action) -> None:
        if self.clients.act(action, len(self.applied)):
            self.applied.append(Applied(action, self.loop.time()))

    def _close(self) -> None:
        self.loop.max_steps *= 2
        for process in self.processes:
            self.loop.kill(process)
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        for _ in range(20):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        self.loop.close()
