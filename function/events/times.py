"""Parses the times of events. Pure."""

import re
from datetime import UTC, datetime

# RFC 3339, and what databases and libraries write instead: no seconds, a blank before the zone, `+0000`, `+00`, `UTC`.
_TIME = re.compile(
    r"\s*(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?) ?([Zz]|UTC|[+-]\d\d(?::?\d\d)?)\s*", re.ASCII
)


def parse_time(value: object) -> datetime:
    """Returns a time with a zone as UTC, its up to 9 fractional digits cut to microseconds.

    Never guesses a zone, and never the unit of a number: the order of events depends on it. Raises ValueError.
    """
    if not isinstance(value, str) or not (match := _TIME.fullmatch(value)):
        raise ValueError("expected an RFC 3339 time with a zone")
    zone = "+00:00" if match[2] in {"Z", "z", "UTC"} else match[2]
    try:
        return datetime.fromisoformat(match[1].upper() + zone).astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time within the years 1 to 9999") from None
