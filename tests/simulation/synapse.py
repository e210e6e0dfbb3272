"""One Synapse for all pods: each request travels, is carried out and is answered in virtual time, or is hit by a fault.

What a pod has sent is carried out although the pod gave up, froze or died.
"""

import asyncio
from collections import Counter
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Protocol

import httpx
from starlette.responses import Response

from tests.simulation.chance import Chance
from tests.simulation.homeserver import Call, Homeserver, read_call
from tests.simulation.loop import PROCESS, Process
from tests.simulation.scenario import Hit, Outage, Part, RequestFault, Scenario, Verb

CALL: ContextVar[int] = ContextVar("call", default=-1)  # the number of the delivery that a request serves

_NO_PROCESS = Context()

PAGE = Response("<html>maintenance</html>", 403, media_type="text/html")
MAINTENANCE = Response('{"status":"maintenance"}', media_type="application/json")
FAILED = Response('{"errcode":"M_UNKNOWN"}', 500, media_type="application/json")
UNAUTHORIZED = Response('{"errcode":"M_UNKNOWN_TOKEN"}', 401, media_type="application/json")
LIMITED = Response('{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":700}', 429, media_type="application/json")

# What Synapse does with a request that is hit, and what the client gets: None for no answer, an exception for a reset.
_EFFECTIVE = {
    Hit.LATE, Hit.SLOW, Hit.LOST, Hit.ERROR_DONE, Hit.LIMITED, Hit.HALF, Hit.KILL_SENT, Hit.FREEZE_SENT, Hit.MOVE,
    Hit.FREEZE_BEFORE,
}  # fmt: skip
_ANSWERS = {
    Hit.ERROR: FAILED, Hit.ERROR_DONE: FAILED, Hit.HALF: FAILED, Hit.LIMITED: LIMITED, Hit.PAGE: PAGE,
    Hit.MAINTENANCE: MAINTENANCE, Hit.UNAUTHORIZED: UNAUTHORIZED,
}  # fmt: skip
_SILENT = {Hit.LATE, Hit.HANG}
_CUT = {Hit.LOST, Hit.RESET}


@dataclass(frozen=True, slots=True)
class Write:
    """A profile write that took effect on an account that was deactivated or erased."""

    user: int
    sent: float
    done: float


class Strikes(Protocol):
    """What a fault can do to a pod."""

    def strike(self, process: Process, hit: Hit, seconds: float) -> None: ...


class SimulatedSynapse:
    """The homeserver behind the network.

    Args:
        scenario: its faults and outages.
        strikes: kills, freezes and moves.
    """

    def __init__(self, scenario: Scenario, loop: asyncio.AbstractEventLoop, chance: Chance, strikes: Strikes) -> None:
        self.homeserver = Homeserver(loop, chance)
        self.calm = False  # no more faults
        self.by_call: Counter[tuple[int, int]] = Counter()  # requests by delivery and user
        self.by_user: Counter[int] = Counter()
        self.hit_users: set[int] = set()
        self.late_writes: list[Write] = []
        self._scenario, self._loop, self._chance, self._strikes = scenario, loop, chance, strikes
        self._nth: Counter[tuple[int, Verb]] = Counter()
        self._sent = 0
        self._faults: dict[tuple[int, Verb, int], RequestFault] = {}
        for fault in scenario.requests:
            for more in range(fault.times):
                self._faults.setdefault((fault.user, fault.verb, fault.nth + more), fault)
        self._outages = [outage for outage in scenario.outages if outage.part is Part.SYNAPSE]

    async def exchange(self, request: httpx.Request) -> httpx.Response:
        """Carries a pod's request. Raises httpx.TransportError."""
        process, call, begun = PROCESS.get(), read_call(request), self._loop.time()
        self._alive(process)
        hit, seconds, doom = self._hit(call)
        self._count(call)
        if doom and process:
            process.doomed = True
        if hit and process:
            before = hit in {Hit.KILL_BEFORE, Hit.FREEZE_BEFORE}
            if before:
                self._strikes.strike(process, hit, seconds)
                await asyncio.sleep(0)
                self._alive(process)
        answer: asyncio.Future[Response] = self._loop.create_future()
        self._send(call, hit, seconds, begun, answer)
        if hit and process and not before:
            self._strikes.strike(process, hit, seconds)
        limit = request.extensions["timeout"]["read"]
        try:
            async with asyncio.timeout(limit):
                response = await answer
        except TimeoutError:
            raise httpx.ReadTimeout("simulated") from None
        self._alive(process)
        headers = {"content-type": response.headers.get("content-type", "application/json")}
        return httpx.Response(response.status_code, content=bytes(response.body), headers=headers)

    def _alive(self, process: Process | None) -> None:
        if process is not None and process.dead:
            raise httpx.ConnectError("this process is dead")

    def _count(self, call: Call) -> None:
        if call.user is not None:
            self.by_call[CALL.get(), call.user] += 1
            self.by_user[call.user] += 1

    def _hit(self, call: Call) -> tuple[Hit | None, float, bool]:
        if self.calm:
            return None, 0.0, False
        if outage := self._down():
            return outage.hit, outage.start + outage.seconds - self._loop.time(), False
        if call.user is None:
            return None, 0.0, False
        nth = self._nth[call.user, call.verb]
        self._nth[call.user, call.verb] += 1
        fault = self._faults.get((call.user, call.verb, nth))
        if fault is None:
            return None, 0.0, False
        self.hit_users.add(call.user)
        return fault.hit, fault.seconds, fault.doom

    def _down(self) -> Outage | None:
        now = self._loop.time()
        return next((one for one in self._outages if one.start <= now < one.start + one.seconds), None)

    def _send(
        self, call: Call, hit: Hit | None, seconds: float, begun: float, answer: "asyncio.Future[Response]"
    ) -> None:
        """Starts what the network and Synapse do with the request; runs in no pod's context."""
        self._sent += 1
        scale, sent = self._scenario.latency, self._loop.time()
        there = scale * 0.05 * self._chance.of(61, self._sent) ** 2
        back = scale * 0.02 * self._chance.of(62, self._sent)
        if hit in {Hit.LATE, Hit.MOVE}:
            there = seconds
        elif hit is Hit.SLOW:
            there, back = (seconds, back) if self._chance.of(63, self._sent) < 0.5 else (there, seconds)
        elif hit is Hit.FREEZE_SENT:
            there += min(seconds, 100.0) * self._chance.of(64, self._sent)
        self._loop.call_later(there, self._arrive, call, hit, begun, sent, back, answer, context=_NO_PROCESS)

    def _arrive(
        self, call: Call, hit: Hit | None, begun: float, sent: float, back: float, answer: "asyncio.Future[Response]"
    ) -> None:
        response = FAILED
        if hit is None or hit in _EFFECTIVE:
            self._note(call, sent)
            response = self.homeserver.carry_out(call, hit, begun)
        if hit in _SILENT:
            return
        response = _ANSWERS.get(hit, response) if hit else response
        self._loop.call_later(back, _answer, answer, None if hit in _CUT else response, context=_NO_PROCESS)

    def _note(self, call: Call, sent: float) -> None:
        if call.writes_profile and call.user is not None:
            account = self.homeserver.accounts.get(call.path.split("/")[5], {})
            if account.get("deactivated"):
                self.late_writes.append(Write(call.user, sent, self._loop.time()))


def _answer(answer: "asyncio.Future[Response]", response: Response | None) -> None:
    if answer.done():
        return
    if response is None:
        answer.set_exception(httpx.ReadError("simulated"))
    else:
        answer.set_result(response)


class PodTransport(httpx.AsyncBaseTransport):
    """A pod's way to Synapse."""

    def __init__(self, synapse: SimulatedSynapse) -> None:
        self._synapse = synapse

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._synapse.exchange(request)
