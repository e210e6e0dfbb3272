"""Measures the throughput of the stub Synapse with 16 calls in flight, as the function has, and with many."""

from benchmarks.environment import Bench
from benchmarks.systems import Load
from benchmarks.workloads import Workload, make
from dev.processes import wait_until

MANY = 256


class _LoadOf(Load):
    """The load generator with another number of calls in flight."""

    in_flight = MANY

    def command(self) -> list[str]:
        return [*super().command(), str(self.in_flight)]


class _LoadOf16(_LoadOf):
    in_flight = 16


def ceiling(at: Bench, calls: int) -> dict[str, object]:
    """Returns the stub's calls per second."""
    found: dict[str, object] = {}
    for kind in (_LoadOf16, _LoadOf):
        workload = make("deletions", calls, 12)
        found[f"stub's calls/s, {kind.in_flight} in flight"] = round(_rate(at, kind, workload))
    return found


def _rate(at: Bench, kind: type[_LoadOf], workload: Workload) -> float:
    at.homeserver.prepare(workload)
    at.homeserver.expect(workload.ends)
    own = {"TOKEN": at.homeserver.token, "MATRIX_HOMESERVER_URL": at.homeserver.url}
    load = kind(at.stack.env() | own, at.folder, workload)
    load.start()
    try:
        assert wait_until(lambda: at.homeserver.progress().done, 120), "the stub took too long"
    finally:
        load.stop()
    progress = at.homeserver.progress()
    return progress.calls / (progress.last - progress.first)
