"""Defines one row of `check`, and makes a row of everything that can go wrong with a check."""

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from function.outcomes import Rejected, TryAgain

SECONDS = 30.0  # for one check


class Mark(StrEnum):
    """How a check ended; only FAILED decides the exit code."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: what was checked and what was found; `advice` says how to fix it, unless it is ok."""

    what: str
    mark: Mark
    found: str
    advice: str = ""


def ok(what: str, found: str) -> Finding:
    return Finding(what, Mark.OK, found)


def warning(what: str, found: str, advice: str) -> Finding:
    return Finding(what, Mark.WARNING, found, advice)


def failed(what: str, found: str, advice: str) -> Finding:
    return Finding(what, Mark.FAILED, found, advice)


def row_of(what: str, failure: TryAgain | Rejected, advice: str = "") -> Finding:
    """Returns the row of a failure, with the reason's own advice unless there is a better one."""
    found = f"{failure.reason}: {failure.detail}" if failure.detail else str(failure.reason)
    return failed(what, found, advice or failure.reason.todo)


async def rows(what: str, check: Awaitable[Iterable[Finding]], seconds: float = SECONDS) -> list[Finding]:
    """Waits for a check; returns its rows, or the row of its failure. Raises nothing."""
    try:
        async with asyncio.timeout(seconds):
            return list(await check)
    except (TryAgain, Rejected) as failure:
        return [row_of(what, failure)]
    except TimeoutError:
        return [failed(what, f"no answer within {seconds:.0f} s", "Find out why it is slow or hangs, and check again.")]
    except Exception as error:
        return [unexpected(what, error)]


def unexpected(what: str, error: Exception) -> Finding:
    """Returns the row of a bug in `check` itself. The error's text stays out: it can hold an address or a name."""
    return failed(what, f"unexpected: {type(error).__name__}", "A bug of this program: report it with this line.")
