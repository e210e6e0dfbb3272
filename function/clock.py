"""Tells the time in UTC; a part that needs the time takes a `Clock`, so that a test can set it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Returns the current time in UTC."""
    return datetime.now(UTC)
