"""Tells what was done to remove what erased users left behind: in the log, and in the metrics."""

import logging
from collections.abc import Callable, Iterable

from function.accounts.traces import Removal, RemovalResult
from function.telemetry.logs import log
from function.telemetry.metrics import Metrics

_LEVELS = {RemovalResult.FAILED: logging.ERROR, RemovalResult.WAITS: logging.WARNING}

OnRemovals = Callable[[Iterable[Removal]], None]


def log_removals(removals: Iterable[Removal]) -> None:
    """Logs what was begun, what waits and what has ended. No line knows the user; that of a redaction has its id."""
    for one in removals:
        level = _LEVELS.get(one.result, logging.INFO)
        log(level, "removal", part=one.part.value, outcome=one.result.value, size=one.size, detail=one.detail)


def told_removals(metrics: Metrics) -> OnRemovals:
    """Returns what logs and counts removals."""

    def tell(removals: Iterable[Removal]) -> None:
        removals = list(removals)
        log_removals(removals)
        for one in removals:
            metrics.removal(one.part, one.result)

    return tell
