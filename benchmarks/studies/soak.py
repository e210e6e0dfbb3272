"""Measures whether memory stays flat over a million events: `python -m benchmarks.studies.soak`. Writes soak.json."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import typer

from benchmarks import runs
from benchmarks.environment import Bench, bench, now
from benchmarks.expected import expected
from benchmarks.process_stats import rss_mb
from benchmarks.report import tables
from benchmarks.systems import Ours
from benchmarks.workloads import Maker, Workload, ended, noise

USERS = 2_000


def chunks(maker: Maker, size: int, count: int) -> Iterator[Workload]:
    """Yields noise of the same users in consecutive chunks; only one chunk is in memory at a time."""
    first = ended(noise(maker, 10 * USERS), maker, 12)
    accounts = dict(first.accounts)
    for _ in range(count):
        users = [user for user in accounts if user not in {end.user_id for end in first.ends}]
        made = []
        for _ in range(size):
            user = maker.random.choice(users)
            if maker.random.random() < 0.05:
                accounts[user] = replace(accounts[user], name=maker.account().name)
            made.append(maker.profile(user, accounts[user]))
        ends = [replace(maker.profile(end.user_id, maker.account()), partition=end.partition) for end in first.ends]
        yield replace(first, events=made, ends=ends)


def soak(at: Bench, size: int, count: int) -> list[dict[str, float]]:
    """Returns a row for each chunk."""
    rows: list[dict[str, float]] = []
    maker = Maker(1)
    system, last = None, None
    try:
        for number, workload in enumerate(chunks(maker, size, count), start=1):
            if system is None:
                system = Ours(at.fresh(workload), at.folder, workload)
                system.start()
            at.homeserver.expect(workload.ends)
            began = now()
            at.produce(workload.everything)
            progress = runs.wait(at, system)
            held = {f"{name} MB": round(rss_mb(server.pids()), 1) for name, server in system.servers().items()}
            rate = round(len(workload.events) / (progress.last - began))
            rows.append({"events": number * size, **held, "events/s, while produced": rate})
            print(rows[-1], flush=True)
            last = workload
        assert system is not None
        assert last is not None
        # The last chunk's events hold the newest state of the users that they name.
        found = at.homeserver.found(last).accounts
        named = {event.user_id for event in last.everything}
        assert all(found[user] == state for user, state in expected(last).items() if user in named), "a wrong account"
    finally:
        if system:
            system.stop()
    return rows


def main(events: int = 1_000_000, chunk: int = 100_000) -> None:
    """Send the events in chunks, and write the memory after each."""
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as at:
        rows = soak(at, chunk, max(1, events // chunk))
    tables.SOAK.write_text(json.dumps(rows, indent=1) + "\n")
    tables.write_pages(tables.load())


if __name__ == "__main__":
    typer.run(main)
