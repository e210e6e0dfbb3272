"""Puts one run together: pods, Kafka, Synapse, the state store and another client, and plays a scenario on them."""

import asyncio
import random
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import stamina

from function.homeserver.requests import TRIES
from function.outcomes import Reason
from tests.simulation.chance import Chance
from tests.simulation.events import uuid_of
from tests.simulation.evidence import Results
from tests.simulation.kafka import Kafka
from tests.simulation.letters import Topic
from tests.simulation.loop import NoProgress, Process, VirtualLoop
from tests.simulation.pod import Pod, chores_left
from tests.simulation.scenario import Action, Blow, Deed, Hit, PodFault, Scenario
from tests.simulation.store import Values
from tests.simulation.synapse import SimulatedSynapse

DRAIN_SECONDS = 1800.0  # of virtual time after the last fault, for everything to be processed
LATE_SECONDS, SETTLE_ROUNDS = 130.0, 60
HOUR = 3900.0  # until the deletion limit lets deletions pass again
MAX_REPLAYS = 12
REDACTION_LOOKS = 2  # that find a redaction still running
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
        self.synapse = SimulatedSynapse(scenario, self.loop, self.chance, self)
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
        for number, user in enumerate(scenario.users):
            if user.exists:
                self._login(number)

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
        for event in scenario.events:
            self.loop.call_at(event.when, self.kafka.produce, event)
        for action in scenario.actions:
            self.loop.call_at(action.when, self._act, action)
        for blow in scenario.blows:
            self.loop.call_at(blow.when, self._blow, blow)
        for when in scenario.replays:
            self.loop.call_at(when, self._replay)
        await asyncio.sleep(scenario.end + 1)
        self._calm = self.synapse.calm = self.values.calm = self.topic.calm = self.results.calm = True
        await self._drain()
        for _ in range(MAX_REPLAYS):
            if self.stuck or not self._replay():
                break
            await self._drain()
            if scenario.limit:
                await asyncio.sleep(HOUR)
        await self._settle()

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
        self.pods[slot] = Pod(self.scenario, self.loop, process, self.synapse, self.values, self.topic, self.results)
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

    # --- what another client does

    def _login(self, user: int) -> None:
        homeserver = self.synapse.homeserver
        mxid = homeserver.mxid(uuid_of(user))
        homeserver.add(mxid)
        homeserver.identities["oidc-nova", uuid_of(user)] = mxid
        if rooms := self.scenario.users[user].rooms:
            homeserver.rooms[mxid] = rooms
        if self.scenario.removes:
            homeserver.redaction_looks = REDACTION_LOOKS
            homeserver.say(mxid, 3)
            homeserver.add_upload(mxid, f"own{user}")

    def _act(self, action: Action) -> None:
        homeserver = self.synapse.homeserver
        mxid = homeserver.mxid(uuid_of(action.user))
        account = homeserver.accounts.get(mxid)
        if action.deed is Deed.LOGIN and account is None and mxid not in homeserver.poisoned:
            self._login(action.user)
        elif account is None or action.deed is Deed.LOGIN:
            return
        elif action.deed is Deed.DEVICE:
            if account["deactivated"]:
                return
            homeserver.devices.setdefault(mxid, []).append(f"D{len(self.applied)}")
        else:
            change = _CHANGES[action.deed]
            if all(account[name] == value for name, value in change.items()):
                return
            account.update(change)
            if action.deed in {Deed.DEACTIVATE, Deed.ERASE}:
                homeserver.leave_rooms(mxid)
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


_CHANGES: dict[Deed, dict[str, Any]] = {
    Deed.DEACTIVATE: {"deactivated": True},
    Deed.REACTIVATE: {"deactivated": False, "erased": False},
    Deed.ERASE: {"deactivated": True, "erased": True, "displayname": None, "avatar_url": None},
    Deed.RENAME: {"displayname": "Renamed"},
}
