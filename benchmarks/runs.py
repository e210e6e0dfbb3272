"""One run: a system on a workload, from the waiting topic to the judgement."""

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

POLL = 0.05  # seconds between two looks at the progress
PATIENCE = 20.0  # a run without a call for so long has ended, however it ended
LONGEST = 900.0

MakeSystem = Callable[[dict[str, str]], System]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run gave. `cpu` in microseconds an event and `rss` in MB, by process; `start` in seconds, from the start
    of the processes to the first call (or, for an app that makes none, the first event)."""

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
    """The processor time and the memory of a system over a run."""

    def __init__(self, system: System) -> None:
        self._servers = {name: server.pids() for name, server in system.servers().items()}
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        return {name: cpu_seconds(pids) for name, pids in self._servers.items()}

    def cpu(self, events: int) -> dict[str, float]:
        return {name: 1e6 * (used - self._before[name]) / events for name, used in self._now().items()}

    def rss(self) -> dict[str, float]:
        return {name: rss_mb(pids) for name, pids in self._servers.items()}


def backlog(bench: Bench, make: MakeSystem, workload: Workload, *, partitions: int = 12) -> Measured:
    """How fast a waiting topic is worked off: from the first call on a user to the end's."""
    with running(bench, make, workload, partitions) as (system, began):
        first = wait(bench, system, lambda progress: progress.calls > 0)
        cost = _Cost(system)
        last = wait(bench, system)
        seconds, start = last.last - first.first, max(0.0, first.first - began)
        events = len(workload.everything)
        used, held = cost.cpu(events), cost.rss()
        return Measured(events, seconds, last.calls, start, _raise_for_status(bench, system, workload), used, held)


def outage(bench: Bench, make: MakeSystem, workload: Workload, *, seconds: float, failing: float) -> Measured:
    """A backlog while some calls fail, and Synapse goes away for a while once a third of the calls are made."""
    stub, third = bench.homeserver, len(workload.events) * 2 // 3
    assert isinstance(stub, StubSynapse)
    with running(bench, make, workload, 12, failing) as (system, _):
        first = wait(bench, system, lambda progress: progress.calls > 0)
        cost = _Cost(system)
        left_at = wait(bench, system, lambda progress: progress.calls > third)
        stub.leave(seconds)
        back = now() + seconds
        last = wait(bench, system, patience=seconds + PATIENCE)
        events, after = len(workload.everything), max(0.0, last.last - back)
        used, held = cost.cpu(events), cost.rss()
        working = left_at.last - first.first + after
        judged = _raise_for_status(bench, system, workload)
        return Measured(events, working, last.calls, 0.0, judged, used, held, after_outage=after)


def live(bench: Bench, make: MakeSystem, workload: Workload, *, rate: float) -> Measured:
    """Events as they come, `rate` a second: how long from publishing to the call that shows it."""
    with running(bench, make, workload, 12) as (system, _):
        cost, sent, began = _Cost(system), dict[str, float](), now()
        for number, event in enumerate(workload.events):
            time.sleep(max(0.0, began + number / rate - now()))
            sent[event.id] = now()
            bench.send(event)
        bench.produce(workload.ends)
        last = wait(bench, system)
        events = len(workload.everything)
        used, held = cost.cpu(events), cost.rss()
        arrivals = bench.homeserver.found(workload).arrivals
        waits = [
            1000 * (arrived - sent[event.id])
            for event in workload.events
            if (arrived := arrivals.get((event.user_id, event.name), 0.0)) > sent[event.id]
        ]
        latencies = percentile(waits, 0.5), percentile(waits, 0.99)
        judged = _raise_for_status(bench, system, workload)
        return Measured(events, now() - began, last.calls, 0.0, judged, used, held, latencies)


@contextlib.contextmanager
def running(
    bench: Bench, make: MakeSystem, workload: Workload, partitions: int, failing: float = 0.0
) -> Iterator[tuple[System, float]]:
    """The system, started on the workload's topic, and when that was; after the primer, if there is one, it is paused
    while the topic fills, unless nothing waits there (live)."""
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
    time.sleep(2)  # offsets are committed once a second
    bench.homeserver.expect(workload.ends)


def wait(
    bench: Bench, system: System, enough: Callable[[Progress], bool] = lambda _: False, patience: float = PATIENCE
) -> Progress:
    """Waits until it is enough, or the run has ended, or nothing has come for so long that it has."""
    deadline, changed, calls = now() + LONGEST, now(), -1
    while True:
        progress = system.progress(bench.homeserver)
        if progress.calls != calls or progress.away:
            changed, calls = now(), progress.calls
        quiet = now() - changed > (patience if calls else 60.0)
        if progress.done or enough(progress) or quiet or now() > deadline:
            return progress
        time.sleep(POLL)


def _raise_for_status(bench: Bench, system: System, workload: Workload) -> Judgement | None:
    """None for a system that changes nothing."""
    if not system.applies:
        return None
    time.sleep(1.0)  # what is still in flight beside the end
    found = bench.homeserver.found(workload)
    letters = bench.letters() if system.remembers else None
    return judge(workload, found.accounts, found.writes, spoilt=found.spoilt, letters=letters)
