"""Processor time and memory of processes, and percentiles."""

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence

import psutil


def cpu_seconds(pids: Iterable[int]) -> float:
    """Returns the processor time that the processes have used so far."""
    return _total(pids, lambda process: sum(process.cpu_times()[:2]))  # user and system, without children


def rss_mb(pids: Iterable[int]) -> float:
    """Returns the resident memory that the processes hold now."""
    return _total(pids, lambda process: process.memory_info().rss) / 2**20


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that at least `share` of all values do not exceed; 0 for no values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _total(pids: Iterable[int], measure: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += measure(psutil.Process(pid))
    return total
