"""Runs one system on one workload, measures it and judges the result."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.environment import Bench, now
from benchmarks.homeservers import Progress, StubSynapse
from benchmarks.judge import Judgement, judge
from benchmarks.process_stats import cpu_seconds, percentile, rss_mb
from benchmarks.systems import System
from benchmarks.workloads import Event, Workload
from dev.processes import StackError, wait_until

POLL = 0.05  # seconds between two reads of the progress
QUIET = 20.0  # seconds without a call after which a run counts as ended
LONGEST = 900.0

MakeSystem = Callable[[dict[str, str]], System]


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of one run: `cpu` in microseconds an event and `rss` in MB, by process; `start` in seconds from the start of
    the processes to the first call (to the first event for an app that makes no calls)."""

    events: int
    seconds: float
    calls: int
    start: float
    judgement: Judgement | None
    cpu: dict[str, float]
    rss: dict[str, float]
    latencies: tuple[float, float] = (0.0, 0.0)
    after_outage: float = 0.0

    @property
    def rate(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0


class _Cost:
    """Processor time and memory of a system during a run."""

    def __init__(self, system: System) -> None:
        self._servers = {name: server.pids() for name, server in system.servers().items()}
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        return {name: cpu_seconds(pids) for name, pids in self._servers.items()}

    def cpu(self, events: int) -> dict[str, float]:
        return {name: 1e6 * (used - self._before[name]) / events for name, used in self._now().items()}

    def rss(self) -> dict[str, float]:
        return {name: rss_mb(pids) for name, pids in self._servers.items()}


def backlog(
    bench: Bench, make: MakeSystem, workload: Workload, *, partitions: int = 12, failing: float = 0.0
) -> Measured:
    """Measures how fast a full topic is consumed, from the first call on a user to the last; a share of the calls may fail."""
    with running(bench, make, workload, partitions, failing) as (system, began):
        first = wait(bench, system, lambda progress: progress.calls > 0)
        cost = _Cost(system)
        last = _finished(bench, system, wait(bench, system))
        seconds, start = last.last - first.first, max(0.0, first.first - began)
        events = len(workload.everything)
        used, held = cost.cpu(events), cost.rss()
        return Measured(events, seconds, last.calls, start, _judged(bench, system, workload), used, held)


def outage(bench: Bench, make: MakeSystem, workload: Workload, *, seconds: float, failing: float) -> Measured:
    """Measures a backlog while some calls fail and Synapse is unavailable for a while after a third of the calls."""
    stub, third = bench.homeserver, len(workload.events) * 2 // 3
    assert isinstance(stub, StubSynapse)
    with running(bench, make, workload, 12, failing) as (system, _):
        first = wait(bench, system, lambda progress: progress.calls > 0)
        cost = _Cost(system)
        left_at = wait(bench, system, lambda progress: progress.calls > third)
        stub.leave(seconds)
        back = now() + seconds
        last = _finished(bench, system, wait(bench, system, quiet=seconds + QUIET))
        events, after = len(workload.everything), max(0.0, last.last - back)
        used, held = cost.cpu(events), cost.rss()
        working = left_at.last - first.first + after
        judged = _judged(bench, system, workload)
        return Measured(events, working, last.calls, 0.0, judged, used, held, after_outage=after)


def live(bench: Bench, make: MakeSystem, workload: Workload, *, rate: float) -> Measured:
    """Measures the latency of events sent at `rate` a second, from publishing to the call that applies each."""
    with running(bench, make, workload, 12) as (system, _):
        cost, sent, began = _Cost(system), dict[str, float](), now()
        for number, event in enumerate(workload.events):
            time.sleep(max(0.0, began + number / rate - now()))  # keeps the rate: it is what is measured at
            sent[event.id] = now()
            bench.send(event)
        bench.produce(workload.ends)
        last = _finished(bench, system, wait(bench, system))
        events = len(workload.everything)
        used, held = cost.cpu(events), cost.rss()
        arrivals = bench.homeserver.found(workload).arrivals
        waits = [
            1000 * (arrived - sent[event.id])
            for event in workload.events
            if (arrived := arrivals.get((event.user_id, event.name), 0.0)) > sent[event.id]
        ]
        latencies = percentile(waits, 0.5), percentile(waits, 0.99)
        judged = _judged(bench, system, workload)
        return Measured(events, now() - began, last.calls, 0.0, judged, used, held, latencies)


@contextlib.contextmanager
def running(
    bench: Bench, make: MakeSystem, workload: Workload, partitions: int, failing: float = 0.0
) -> Iterator[tuple[System, float]]:
    """Starts the system on the workload's topic; yields it and the time of the start. If there is a primer, the system
    consumes that first and is paused while the topic fills. A live workload does not fill the topic beforehand."""
    system = make(bench.fresh(workload, partitions, failing))
    began = now()
    try:
        if workload.primer:
            _prime(bench, system, workload)
        if workload.waits:
            bench.homeserver.expect(workload.ends)
            if workload.primer:
                system.pause()
            bench.produce(workload.everything)
            began = now()
            (system.resume if workload.primer else system.start)()
        yield system, began
    finally:
        system.stop()


def _prime(bench: Bench, system: System, workload: Workload) -> None:
    ends: list[Event] = list(workload.primer[-bench.partitions :])
    bench.homeserver.expect(ends)
    bench.produce(workload.primer)
    system.start()
    wait(bench, system)
    if not wait_until(bench.committed, 10.0):  # before the pause: what is not committed would be consumed again
        raise StackError("the primer's offsets were not committed within 10 s")
    bench.homeserver.expect(workload.ends)


def wait(
    bench: Bench, system: System, enough: Callable[[Progress], bool] = lambda _: False, quiet: float = QUIET
) -> Progress:
    """Waits until `enough` holds, the run is done, there was no call for `quiet` seconds, or LONGEST has passed."""
    deadline, changed, calls = now() + LONGEST, now(), -1
    while True:
        progress = system.progress(bench.homeserver)
        if progress.calls != calls or progress.away:
            changed, calls = now(), progress.calls
        silent = now() - changed > (quiet if calls else 60.0)
        if progress.done or enough(progress) or silent or now() > deadline:
            return progress
        time.sleep(POLL)  # `wait_until` can't say which of the conditions held


def _finished(bench: Bench, system: System, last: Progress) -> Progress:
    """Waits until the events are done that were answered RETRY: they come again a second later, when the last events of
    the partitions may have ended."""
    return system.progress(bench.homeserver) if system.remembers and wait_until(bench.committed, 60.0) else last


def _judged(bench: Bench, system: System, workload: Workload) -> Judgement | None:
    """Judges the run; None for a system that changes no account."""
    if not system.applies:
        return None
    if not system.remembers:  # ours has committed: it makes no further call
        time.sleep(1.0)  # the others give no sign of it: longer than any one call takes
    found = bench.homeserver.found(workload)
    letters = bench.letters() if system.remembers else None
    return judge(workload, found.accounts, found.writes, corrupted=found.corrupted, letters=letters)
