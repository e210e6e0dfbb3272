"""Reads the values of options that several commands share, and refuses a mistyped one with the nearest right one."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from uuid import UUID

import typer

from function.dead_letters.letter import UNKNOWN
from function.events.type_names import UNUSED_TYPES, event_type
from function.events.types import EventType
from function.outcomes import Reason

_AGO = re.compile(r"(\d{1,18})([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_FORMS = "expected 2026-01-31, 2026-01-31T03:00:00Z, or an age: 90m, 12h, 7d"
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_SHORT = {kind.value.rpartition(".")[2]: kind for kind in EventType}


def parse_time(text: str | datetime) -> datetime:
    """Reads a time, a date (its first moment in UTC), or an age. Cuts it to milliseconds, as Kafka's timestamps are."""
    if isinstance(text, datetime):
        return text
    try:
        time = _time(text)
        if not _FIRST <= time < _LAST:
            raise OverflowError
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time; {_FORMS}") from None
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is not between the years 1970 and 2199; {_FORMS}") from None
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _time(text: str) -> datetime:
    """Raises ValueError, OverflowError, and BadParameter for a time without a zone."""
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    time = datetime.fromisoformat(text)
    if time.tzinfo is None and len(text) > len("2026-01-31"):
        raise typer.BadParameter(f"{text!r} has no time zone; add Z for UTC")
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def check_period(since: datetime | None, until: datetime | None) -> None:
    """Refuses a period that holds nothing."""
    if since and until and since >= until:
        raise typer.BadParameter("--since is not before --until: no letter is in between")


def check_user(text: str) -> str:
    """Returns the user's UUID in lower case."""
    try:
        return str(UUID(text)) if text else ""
    except ValueError:
        raise typer.BadParameter("expected the user's UUID") from None


def check_reasons(names: list[str] | None) -> list[str] | None:
    """Refuses what is no reason."""
    for name in names or ():
        if name not in {*Reason, UNKNOWN}:
            raise typer.BadParameter(f"{name!r} is no reason; {_nearest(name, reason_names())}")
    return names


def check_types(names: list[str] | None) -> list[str] | None:
    """Returns the types as letters have them: their current names, `unknown`, or `=` and the exact text."""
    return [_type(name) for name in names] if names else None


def _type(name: str) -> str:
    exact, text = name.startswith("="), name.removeprefix("=")
    if kind := event_type(text) or _SHORT.get(text):
        return kind.value
    if text in UNUSED_TYPES or name == UNKNOWN:
        return text
    if exact and text:
        return name
    known = _nearest(name, type_names())
    raise typer.BadParameter(
        f"{name!r} is no event type of the identity service; {known}. For exactly this text: {'=' + name!r}"
    )


def reason_names() -> list[str]:
    """Returns the reasons that a dead letter can have."""
    return sorted([*(reason.value for reason in Reason if not reason.retried), UNKNOWN])


def type_names() -> list[str]:
    """Returns the types that `--type` knows; the long names too."""
    return [
        *_SHORT,
        *(kind.value for kind in EventType),
        *(kind.old for kind in EventType),
        *sorted(UNUSED_TYPES),
        UNKNOWN,
    ]


def complete_reason(incomplete: str) -> list[str]:
    """Returns what the shell offers for `--reason`."""
    return _beginning(incomplete, reason_names())


def complete_type(incomplete: str) -> list[str]:
    """Returns what the shell offers for `--type`."""
    return _beginning(incomplete, [*_SHORT, UNKNOWN])


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _nearest(name: str, known: Sequence[str]) -> str:
    if near := get_close_matches(name, known, n=1):
        return f"did you mean {near[0]}?"
    return f"expected one of: {', '.join(known)}"
