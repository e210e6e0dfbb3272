"""The network between pods and servers: each request travels, is carried out and is answered in virtual time, or is hit by a
fault.

What a pod has sent is carried out although the pod gave up, froze or died.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
from starlette.responses import Response

from tests.simulation.chance import Chance
from tests.simulation.loop import PROCESS, Process
from tests.simulation.scenario import Hit, Outage, Part, RequestFault, Scenario, Verb

CALL: ContextVar[int] = ContextVar("call", default=-1)  # the number of the delivery that a request serves

NO_PROCESS = Context()

PAGE = Response("<html>maintenance</html>", 403, media_type="text/html")
MAINTENANCE = Response('{"status":"maintenance"}', media_type="application/json")
FAILED = Response('{"errcode":"M_UNKNOWN"}', 500, media_type="application/json")
UNAUTHORIZED = Response('{"errcode":"M_UNKNOWN_TOKEN"}', 401, media_type="application/json")
LIMITED = Response('{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":700}', 429, media_type="application/json")

# What the server does with a request that is hit, and what the client gets: None for no answer, an exception for a reset.
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
class Call:
    """One request, read. `user` is None if it is about none."""

    request: httpx.Request
    method: str
    path: str
    query: str
    body: dict[str, Any]
    user: int | None
    verb: Verb

    @property
    def writes_profile(self) -> bool:
        return self.verb in {Verb.NAME, Verb.AVATAR}


@dataclass(frozen=True, slots=True)
class Trip:
    """How a request gets to its server: what hits it, when the client began it, and when it was sent."""

    hit: Hit | None
    begun: float
    sent: float


class Server(Protocol):
    """A server in the network. `part` names its outages."""

    part: Part

    def read(self, request: httpx.Request) -> Call: ...

    def carry_out(self, call: Call, trip: Trip, reply: Callable[[Response], None]) -> None:
        """Does what the call asks, and replies in its own time."""


class Strikes(Protocol):
    """What a fault can do to a pod."""

    def strike(self, process: Process, hit: Hit, seconds: float) -> None: ...


class Network:
    """The ways from the pods to the servers, and between these.

    Args:
        scenario: its faults and outages.
        strikes: kills, freezes and moves.
    """

    def __init__(self, scenario: Scenario, loop: asyncio.AbstractEventLoop, chance: Chance, strikes: Strikes) -> None:
        self.calm = False  # no more faults
        self.by_call: Counter[tuple[int, int]] = Counter()  # the pods' requests by delivery and user
        self.by_user: Counter[int] = Counter()
        self.hit_users: set[int] = set()
        self._scenario, self._loop, self._chance, self._strikes = scenario, loop, chance, strikes
        self._nth: Counter[tuple[int, Verb]] = Counter()
        self._sent = 0
        self._faults: dict[tuple[int, Verb, int], RequestFault] = {}
        for fault in scenario.requests:
            for more in range(fault.times):
                self._faults.setdefault((fault.user, fault.verb, fault.nth + more), fault)

    async def exchange(self, server: Server, request: httpx.Request) -> httpx.Response:
        """Carries a request to a server. Raises httpx.TransportError."""
        process, call, begun = PROCESS.get(), server.read(request), self._loop.time()
        self._alive(process)
        hit, seconds, doom = self._hit(server, call)
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
        self._send(server, call, Trip(hit, begun, self._loop.time()), seconds, answer)
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
        if call.user is not None and call.verb is not Verb.TELL:
            self.by_call[CALL.get(), call.user] += 1
            self.by_user[call.user] += 1

    def _hit(self, server: Server, call: Call) -> tuple[Hit | None, float, bool]:
        if self.calm:
            return None, 0.0, False
        if outage := self._down(server.part):
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

    def _down(self, part: Part) -> Outage | None:
        now = self._loop.time()
        outages = (one for one in self._scenario.outages if one.part is part)
        return next((one for one in outages if one.start <= now < one.start + one.seconds), None)

    def _send(self, server: Server, call: Call, trip: Trip, seconds: float, answer: "asyncio.Future[Response]") -> None:
        """Starts what the network and the server do with the request; runs in no pod's context."""
        self._sent += 1
        scale, hit = self._scenario.latency, trip.hit
        there = scale * 0.05 * self._chance.of(61, self._sent) ** 2
        back = scale * 0.02 * self._chance.of(62, self._sent)
        if hit in {Hit.LATE, Hit.MOVE}:
            there = seconds
        elif hit is Hit.SLOW:
            there, back = (seconds, back) if self._chance.of(63, self._sent) < 0.5 else (there, seconds)
        elif hit is Hit.FREEZE_SENT:
            there += min(seconds, 100.0) * self._chance.of(64, self._sent)

        def reply(response: Response) -> None:
            if hit in _SILENT:
                return
            shown = _ANSWERS.get(hit, response) if hit else response
            self._loop.call_later(back, _answer, answer, None if hit in _CUT else shown, context=NO_PROCESS)

        def arrive() -> None:
            if hit is None or hit in _EFFECTIVE:
                server.carry_out(call, trip, reply)
            else:
                reply(FAILED)

        self._loop.call_later(there, arrive, context=NO_PROCESS)


def _answer(answer: "asyncio.Future[Response]", response: Response | None) -> None:
    if answer.done():
        return
    if response is None:
        answer.set_exception(httpx.ReadError("simulated"))
    else:
        answer.set_result(response)


class Transport(httpx.AsyncBaseTransport):
    """The way to one server."""

    def __init__(self, network: Network, server: Server) -> None:
        self._network, self._server = network, server

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._network.exchange(self._server, request)
