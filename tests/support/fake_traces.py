"""What users leave behind in the fake homeserver: messages in rooms, the redactions that remove them, and their files.

A redaction works as measured on Synapse 1.163: also for a user who is deactivated or has left, for the newest messages of each
room up to a limit, once at a time for a user; its end is known by its id.
"""

from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response

LIMIT = 1000  # messages in each room, unless the request says otherwise


@dataclass
class Message:
    """A message that a user has sent."""

    room: str
    redacted: bool = False


@dataclass
class Redaction:
    """A redaction that was begun: it ends after `looks` more looks at it, or tries to begin another."""

    mxid: str
    rooms: list[str]
    limit: int
    looks: int
    failed: dict[str, str] = field(default_factory=dict)
    status: str = "active"


class FakeTraces:
    """Messages and redactions.

    Switches:
        redaction_looks: how many looks find a redaction still running; a try to begin another counts as well.
        failing_rooms: in these rooms no message can be redacted.
        failing_redactions: the number of next redactions that fail as a whole, such as for a room that was purged in the meantime.
        lost_redactions: Synapse does not know any redaction that was begun, as after a restore.
        without_memberships: a Synapse that can't list the rooms of a user.
    """

    server_name: str
    rooms: dict[str, int]

    def __init__(self) -> None:
        self.messages: dict[str, list[Message]] = {}
        self.redactions: dict[str, Redaction] = {}
        self.redaction_looks = 0
        self.failing_rooms: set[str] = set()
        self.failing_redactions = 0
        self.lost_redactions = False
        self.without_memberships = False

    def say(self, mxid: str, count: int = 1, room: str = "") -> None:
        """Sends messages of a user to a room: by default, to the first that the user is in."""
        sent = [Message(room or self.room(0)) for _ in range(count)]
        self.messages.setdefault(mxid, []).extend(sent)

    def room(self, number: int) -> str:
        return f"!{number}:{self.server_name}"

    def readable(self, mxid: str) -> int:
        """Returns how many messages of a user others can read."""
        return sum(not message.redacted for message in self.messages.get(mxid, []))

    def _get_memberships(self, mxid: str, _words: dict[str, Any], _requester: str) -> Response:
        if self.without_memberships:
            return matrix_error(404, "M_UNRECOGNIZED")
        left = {message.room: "leave" for message in self.messages.get(mxid, [])}
        joined = {self.room(number): "join" for number in range(self.rooms.get(mxid, 0))}
        return JSONResponse({"memberships": left | joined})

    def _redact(self, mxid: str, words: dict[str, Any], _requester: str) -> Response:
        body = words["body"]
        running = [one for one in self.redactions.values() if one.mxid == mxid and one.status == "active"]
        if running:
            self._go_on(running[0])
            return matrix_error(400, "M_UNKNOWN")
        redact_id = f"redaction{len(self.redactions)}"
        limit = body.get("limit") or LIMIT
        self.redactions[redact_id] = Redaction(mxid, body["rooms"], limit, self.redaction_looks)
        if not self.redaction_looks:
            self._end(self.redactions[redact_id])
        return JSONResponse({"redact_id": redact_id})

    def _go_on(self, redaction: Redaction) -> None:
        """Brings a redaction nearer to its end, as time does in Synapse."""
        redaction.looks -= 1
        if redaction.looks <= 0:
            self._end(redaction)

    def _end(self, redaction: Redaction) -> None:
        if self.failing_redactions:
            self.failing_redactions -= 1
            redaction.status = "failed"
            return
        for room in redaction.rooms:
            found = [message for message in self.messages.get(redaction.mxid, []) if message.room == room]
            for number, message in enumerate(found[-redaction.limit :]):
                if room in self.failing_rooms:
                    redaction.failed[f"${number}{room}"] = "403: Power level too low"
                else:
                    message.redacted = True
        redaction.status = "complete"

    def _get_redaction(self, _mxid: str, words: dict[str, Any], _requester: str) -> Response:
        redaction = None if self.lost_redactions else self.redactions.get(words["redaction"])
        if redaction is None:
            return matrix_error(404, "M_NOT_FOUND")
        if redaction.status == "active":
            self._go_on(redaction)
            return JSONResponse({"status": "active"})
        if redaction.status == "failed":
            return JSONResponse({"status": "failed", "error": "the fake says so"})
        return JSONResponse({"status": redaction.status, "failed_redactions": redaction.failed})


def matrix_error(status: int, errcode: str) -> JSONResponse:
    return JSONResponse({"errcode": errcode, "error": f"the fake says {errcode}"}, status_code=status)
