"""What a process costs, from /proc, and percentiles."""

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time that the processes have used so far."""
    return sum(sum(map(int, _stat(pid)[11:13])) for pid in pids) / _TICK


def rss_mb(pids: Iterable[int]) -> float:
    """Memory that the processes hold now."""
    pages = sum(int(fields[21]) for pid in pids if (fields := _stat(pid)))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all are not above; 0 of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
