"""Defines what is still to be removed of an erased user: messages and own media. Pure: no clock, no I/O.

Only what MATRIX_ERASE_MESSAGES and MATRIX_ERASE_MEDIA ask for. It is long work: remembered in the user's state with the
erasure, carried out by later looks (removal.py), and each part ends as done or as failed.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

ROUNDS = 3  # begun redactions, or passes over the media, before what is left counts as failed
TIME_LIMIT = timedelta(days=7)  # then what has not ended counts as failed; Synapse keeps the end of a redaction as long


class Part(StrEnum):
    """A part of what an erased user leaves behind; the value is a metric label."""

    MESSAGES = "messages"
    MEDIA = "media"


class Progress(StrEnum):
    """How far the removal of a part is."""

    OUTSTANDING = "outstanding"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Traces:
    """What is removed of an erased user. A part that no setting asked for is None.

    Attributes:
        at: when the account was erased, or the removal was asked for again.
        redact_id: of the redaction that Synapse is carrying out; "" if none is.
        redactions: how many were begun since `at`.
        passes: over the media, that left some of them.
    """

    at: datetime
    messages: Progress | None = None
    media: Progress | None = None
    redact_id: str = ""
    redactions: int = 0
    passes: int = 0

    @property
    def outstanding(self) -> bool:
        """Whether anything is still to be removed."""
        return Progress.OUTSTANDING in {self.messages, self.media}

    def overdue(self, now: datetime) -> bool:
        """Returns whether it has taken so long that it counts as failed."""
        return now - self.at >= TIME_LIMIT


@dataclass(frozen=True, slots=True)
class RedactMessages:
    """Begins to redact the messages in every room."""


@dataclass(frozen=True, slots=True)
class FollowRedaction:
    """Asks how far the redaction is."""

    redact_id: str


@dataclass(frozen=True, slots=True)
class DeleteOwnMedia:
    """Deletes what the user uploaded."""


RemovalStep = RedactMessages | FollowRedaction | DeleteOwnMedia


class RemovalResult(StrEnum):
    """What became of the removal of a part; the value is a metric label."""

    BEGUN = "begun"
    WAITS = "waits"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Removal:
    """What a look did about a part.

    `size`: rooms of a redaction that was begun, messages that it could not redact, or files that were deleted. `detail`: what
    Synapse said.
    """

    part: Part
    result: RemovalResult
    size: int = 0
    detail: str = ""


def removal_steps(traces: Traces) -> list[RemovalStep]:
    """Returns the next step for each part that is outstanding."""
    steps: list[RemovalStep] = []
    if traces.messages is Progress.OUTSTANDING:
        steps.append(FollowRedaction(traces.redact_id) if traces.redact_id else RedactMessages())
    if traces.media is Progress.OUTSTANDING:
        steps.append(DeleteOwnMedia())
    return steps


def opened(traces: Traces | None, parts: frozenset[Part], now: datetime) -> Traces | None:
    """Returns the traces once the account was erased (again), or once these parts are to be removed (again).

    A redaction that runs is followed, and another begun after it: it leaves out what was written since it began, and Synapse
    refuses to begin another alongside it.
    """
    if not parts:
        return traces
    before = traces or Traces(now)
    outstanding = Progress.OUTSTANDING
    return replace(
        before,
        at=now,
        messages=outstanding if Part.MESSAGES in parts else before.messages,
        media=outstanding if Part.MEDIA in parts else before.media,
        redactions=0,
        passes=0,
    )


def with_progress(traces: Traces, part: Part, progress: Progress) -> Traces:
    """Returns the traces after the removal of a part has ended."""
    if part is Part.MEDIA:
        return replace(traces, media=progress)
    return replace(traces, messages=progress, redact_id="")
