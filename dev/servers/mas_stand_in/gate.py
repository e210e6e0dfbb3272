"""Stands before everything: records the requests, refuses those that are not in the shapes, and fails where a test says."""

import json
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dev.servers.mas_stand_in.shapes import Sent, foreign, is_ours

CONTROLS = "/stand-in"
KEPT = 10_000


@dataclass
class Fault:
    """A failure that a test asks for.

    Args:
        path: beginning of the paths that fail.
        method: of the requests that fail; every one if empty.
        status: the answer; its body is plain text, as from a proxy.
        times: how many requests fail; all if zero.
        after: the request is done, and only its answer is lost.
    """

    path: str = "/"
    method: str = ""
    status: int = 502
    times: int = 0
    after: bool = False

    def hits(self, sent: Sent) -> bool:
        return sent.path.startswith(self.path) and self.method in {"", sent.method}


@dataclass
class Gate:
    """The gate before `app`. Bodies and answers are recorded without tokens and secrets: no header is."""

    app: ASGIApp
    faults: list[Fault] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROLS):
            await self.app(scope, receive, send)
            return
        body = await _body(receive)
        sent = Sent(scope["method"], scope["path"], scope["query_string"].decode(), _content_type(scope), body)
        record = _record(sent)
        self.requests = [*self.requests[-KEPT:], record]
        answer = self._refusal(sent) or _Kept()
        if isinstance(answer, _Kept):
            await self.app(scope, _again(body), answer)
            lost = self._fault(sent, after=True)
            answer = lost or answer
        if isinstance(answer, PlainTextResponse):
            record["status"] = answer.status_code
            await answer(scope, receive, send)
        else:
            record["status"] = answer.status
            await answer.pass_on(send)

    def _refusal(self, sent: Sent) -> PlainTextResponse | None:
        problems = foreign(sent) if is_ours(sent.path) else []
        if problems:
            return PlainTextResponse(f"not in the shapes: {', '.join(problems)}", 500)
        return self._fault(sent, after=False)

    def _fault(self, sent: Sent, *, after: bool) -> PlainTextResponse | None:
        fault = next((one for one in self.faults if one.after == after and one.hits(sent)), None)
        if fault is None:
            return None
        if fault.times:
            fault.times -= 1
            if not fault.times:
                self.faults.remove(fault)
        return PlainTextResponse("a failure that a test asked for", fault.status)


@dataclass
class _Kept:
    """Keeps an answer until it is known whether it is lost."""

    messages: list[Message] = field(default_factory=list)

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return next((int(one["status"]) for one in self.messages if "status" in one), 0)

    async def pass_on(self, send: Send) -> None:
        for message in self.messages:
            await send(message)


async def _body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _again(body: bytes) -> Receive:
    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _content_type(scope: Scope) -> str:
    return next((value.decode() for name, value in scope["headers"] if name == b"content-type"), "")


def _record(sent: Sent) -> dict[str, Any]:
    try:
        body = json.loads(sent.body) if is_ours(sent.path) and sent.body else None
    except ValueError:
        body = None
    return {"method": sent.method, "path": sent.path, "query": sent.query, "body": body, "status": 0}
