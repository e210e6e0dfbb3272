"""Draws the dashboard's panels from two minutes of a real run: `make dashboard-picture`.

Starts real Kafka, daprd, Synapse and function, and a real Prometheus that scrapes the function every second. Stops Synapse
for a while in the middle. Runs every query of the dashboard, and fails if a query fails or returns nothing.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

import httpx

from dev import toolchain
from dev.identity_events import ProducerRecord, created, deleted, new_user, password_changed, profile
from dev.monitoring.alerts import ROOT
from dev.monitoring.dashboard import panels
from dev.monitoring.render import STEP, Series, picture
from dev.processes import Server, free_port, wait_until
from dev.running_stack import RunningStack
from dev.stack import Stack

PICTURE = ROOT / "docs" / "dashboard.svg"
SECONDS, OUTAGE = 120, range(50, 66)
NOT_HERE = ("Lag by partition", "Open dead letters", "MAS call time")  # can be empty: what waits, and a MAS
PEOPLE = 80


class Prometheus:
    """A Prometheus that scrapes one target."""

    def __init__(self, folder: Path, target: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._folder, self._target, self.server = folder, target, Server("prometheus", folder)

    def start(self) -> None:
        config = self._folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: local\n    static_configs:\n"
            f"      - {{targets: ['{self._target}'], labels: {{namespace: local}}}}\n"
        )
        command = [
            str(toolchain.prometheus(print)),
            f"--config.file={config}",
            f"--storage.tsdb.path={self._folder / 'tsdb'}",
        ]
        self.server.start([*command, f"--web.listen-address={self.url.removeprefix('http://')}"])
        self.server.wait_ready(self._answers, 30)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").is_success
        except httpx.HTTPError:
            return False

    def has_seen(self, moment: float) -> bool:
        """Returns whether the target was scraped at that moment, in Unix time, or later."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": "timestamp(up)"}).json()
        return any(float(found["value"][1]) >= moment for found in answer["data"]["result"])

    def ask(self, expression: str, began: float, ended: float) -> list[Series]:
        """Returns the series of a query over the run. Exits if Prometheus rejects the query."""
        plain = expression.replace("$__rate_interval", "6s").replace("$namespace", ".*")
        span: dict[str, str | float] = {"start": began, "end": ended, "step": str(STEP), "query": plain}
        answer = httpx.get(f"{self.url}/api/v1/query_range", params=span).json()
        if answer["status"] != "success":
            sys.exit(f"{expression}: {answer['error']}")
        return [
            Series(found["metric"], [(at - began, float(value)) for at, value in found["values"] if value != "NaN"])
            for found in answer["data"]["result"]
        ]


def some_events(people: list[str], gone: set[str], minute: int) -> list[ProducerRecord]:
    """Returns the records of one second."""
    here = [user for user in people if user not in gone]
    events = [profile(user, f"name {minute}", minute) for user in random.choices(here, k=random.randint(3, 9))]
    events += [profile(new_user(), "not yet here", minute) for _ in range(random.randint(0, 3))]
    events.append(profile(here[0], f"name {minute - 7}", minute - 7))
    if minute % 4 == 0:
        events += [created(new_user()), password_changed(here[2], minute)]
    if minute % 6 == 0:
        gone.add(here[-1])
        events.append(deleted(here[-1], soft=minute % 12 == 0))
    if minute % 15 == 7:
        events.append(ProducerRecord(new_user(), b"not json", {"event_type": b"identity.user.deleted"}))
    if minute % 20 == 9:
        events.append(profile(here[1], "with a picture", minute, avatar="http://not.allowed/a.png"))
    return events


def live(world: RunningStack) -> None:
    """Sends two minutes of events, with an outage of Synapse."""
    people, gone = [new_user() for _ in range(PEOPLE)], set[str]()
    world.create(*people)
    began = time.monotonic()
    for second in range(SECONDS):
        if second == OUTAGE.start:
            world.stack.synapse.stop()
        if second == OUTAGE.stop:
            world.stack.synapse.start()
        world.send(*some_events(people, gone, second))
        time.sleep(max(0.0, began + second + 1 - time.monotonic()))  # events come each second, whatever sending took
    world.settle()


def main() -> None:
    """Runs the service, queries Prometheus and draws the panels."""
    random.seed(7)
    with tempfile.TemporaryDirectory() as made, Stack.on_free_ports(Path(made)) as stack:
        world = RunningStack(stack, Path(made))
        prometheus = Prometheus(Path(made), f"127.0.0.1:{stack.ports.app}")
        try:
            world.start()
            prometheus.start()
            began = time.time()
            live(world)
            ended = time.time()
            wait_until(lambda: prometheus.has_seen(ended), 30)
            asked = [query.expression for panel in panels() for query in panel.queries]
            answers = {expression: prometheus.ask(expression, began, ended) for expression in asked}
        finally:
            prometheus.server.stop()
            world.stop()
    empty = [p.title for p in panels() if p.title not in NOT_HERE and not any(answers[q.expression] for q in p.queries)]
    if empty:
        sys.exit(f"no data for the panels {empty}")
    note = (
        f"{ended - began:.0f} s of a local run; Synapse is stopped at {OUTAGE.start} s and started at {OUTAGE.stop} s"
    )
    PICTURE.write_text(picture(answers, ended - began, note))
    print(f"{len(asked)} queries run, all with data; drawn in {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
