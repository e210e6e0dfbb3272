"""What can be seen of people's lives afterwards: in the logs of the function, of its tools and of daprd, and in the traces.
The life is a rich one; everything personal in it has a mark."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from dev.identity_events import (
    ProducerRecord,
    created,
    deleted,
    moment,
    new_user,
    password_changed,
    profile,
    profile_payload,
    typed,
)
from dev.running_stack import mxid
from dev.servers.daprd import FunctionProcess
from function.app import TRACES_TO
from function.routes import EVENTS_ROUTE
from tests.integration.servers.otlp import Collector, collecting
from tests.integration.stack import StackUnderTest, wait_until

Tell = Callable[[str], None]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MARK = "zq7mark"  # in every name, mail, address and body below
WRONG_TOKEN = f"{MARK}-wrong-token"


@dataclass
class Life:
    """What happened, and the personal data in it that may appear nowhere."""

    world: StackUnderTest
    collector: Collector
    users: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # by the tools
    logs: dict[str, str] = field(default_factory=dict)  # by file

    @property
    def secrets(self) -> dict[str, str]:
        env, token = self.world.environment, self.world.stack.synapse.token
        marked = {"something marked": MARK, "a Matrix id": "@nova-", "its path": "%40nova-"}
        tokens = {
            "the admin token": token,
            "APP_API_TOKEN": env["APP_API_TOKEN"],
            "DAPR_API_TOKEN": env["DAPR_API_TOKEN"],
        }
        return marked | tokens | {f"user {number}": user for number, user in enumerate(self.users)}


@pytest.fixture(scope="module")
def life(world: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Played once, by a function with traces on and every log line on; the other one rests."""
    world.settle()
    world.stop()
    folder = tmp_path_factory.mktemp("seen")
    with collecting() as collector:
        seen = StackUnderTest(world.stack, folder, {"LOG_LEVEL": "DEBUG", "MATRIX_PRECREATE_USERS": "true"})
        # Not for daprd, which reads the same variable and would export its own spans, by gRPC.
        seen.function = FunctionProcess(seen.environment | {TRACES_TO: collector.url}, folder)
        try:
            seen.start()
            lived = Life(seen, collector)
            live(lived)
        finally:
            seen.stop()  # by SIGTERM: what was not exported yet is exported now
            world.start()
        lived.logs = {str(file.relative_to(folder)): file.read_text(errors="replace") for file in logs_in(folder)}
        yield lived


def logs_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.log"))


def live(life: Life) -> None:
    began = datetime.now(UTC).isoformat(timespec="seconds")
    ada, bob, carol, dora = life.users = [new_user() for _ in range(4)]
    world = life.world
    world.create(ada, name=f"{MARK} before")
    mail, url = f"{MARK}@mail.example", f"https://{MARK}.example/face.png"
    personal = {"email": mail, "bio": f"{MARK} bio", "phone": f"+49 {MARK}"}
    world.in_turn(
        traced(profile(ada, f"{MARK} Ada", 1)),
        typed(
            "identity.user.profile_updated", ada, profile_payload(ada, f"{MARK} Ada", moment(2), avatar=url) | personal
        ),
        profile(ada, f"{MARK} Ada", 3, f"mxc://{MARK}.example/face"),
        profile(ada, f"{MARK} old", 0),
        profile(ada, f"{MARK} long" * 99, 4),
        profile(ada, f"{MARK} nul\0", 5),
        created(bob, f"{MARK}bob"),
        profile(carol, f"{MARK} no account", 1),
        password_changed(ada, 6),
    )
    headers = {"event_type": b"identity.user.deleted", "event_id": f"{MARK} with blanks".encode()}
    world.send(
        ProducerRecord(dora, f'{{"x": "{MARK}'.encode(), headers),
        ProducerRecord(
            dora,
            json.dumps(
                {"user_id": f"{MARK} no uuid", "soft_delete": f"{MARK} yes", "deleted_at": f"{MARK} now"}
            ).encode(),
            headers,
        ),
        ProducerRecord(
            dora,
            json.dumps(
                {"specversion": f"{MARK} version", "id": f"{MARK} id", "type": f"{MARK} type", "source": mail}
            ).encode(),
        ),
        ProducerRecord(dora, json.dumps([MARK, mail]).encode()),
        ProducerRecord(dora, None, headers),
        typed(f"{MARK}.unknown", dora, {"user_id": dora, "email": mail}),
    )
    world.settle()
    route = f"http://127.0.0.1:{world.environment['APP_PORT']}{EVENTS_ROUTE}"
    for token, body in ((WRONG_TOKEN, b"{}"), (world.environment["APP_API_TOKEN"], f'{{"{MARK}": '.encode())):
        httpx.post(f"{route}?{MARK}", content=body, headers={"dapr-api-token": token, "cookie": MARK})
    httpx.get(route + f"/{MARK}")
    outage(world, deleted(bob), profile(ada, f"{MARK} later", 7))
    ours = ("--since", began)  # other tests have left letters too
    life.said += [told(world, "dead-letters", *ours), told(world, "dead-letters", "--json", *ours)]
    life.said += [told(world, "replay", "--yes", "--dry-run", *ours), told(world, "replay", "--yes", *ours)]
    world.settle()
    for letter in world.listed("--all", *ours)[:3]:
        life.said.append(told(world, "dead-letters", "--letter", letter["letter"]))
    world.in_turn(deleted(ada, soft=True), deleted(ada), profile(ada, f"{MARK} late", 9), deleted(carol))


def traced(event: ProducerRecord) -> ProducerRecord:
    """As a producer with traces of its own sends it."""
    return replace(event, headers={**event.headers, "traceparent": f"00-{TRACE}-{PARENT}-01".encode()})


def outage(world: StackUnderTest, *events: ProducerRecord) -> None:
    """They meet a homeserver that is away, and are applied when it is back."""
    world.stack.synapse.stop()
    world.send(*events)
    wait_until(lambda: world.function.ready() is False, "not ready")
    world.stack.synapse.start()
    world.settle()


def told(world: StackUnderTest, command: str, *options: str) -> str:
    done = world.tool(command, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_every_outcome_and_log_event_occurred(life: Life, tell: Tell) -> None:
    """Else the tests below show nothing."""
    lines = [json.loads(line) for name, text in life.logs.items() if name.endswith("function.log")
             for line in text.splitlines()]  # fmt: skip
    outcomes = Counter(line["outcome"] for line in lines if line["event"] == "event")
    assert outcomes.keys() >= {"applied", "unchanged", "stale", "no_account", "ignored", "dead_letter"}
    events = Counter(line["event"] for line in lines)
    assert events.keys() >= {
        "started",
        "not_ready",
        "ready",
        "batch",
        "caller_refused",
        "envelope_unreadable",
        "stopped",
    }
    reasons = {line["reason"] for line in lines if line.get("outcome") == "dead_letter"}
    assert reasons >= {"avatar_host_not_allowed", "invalid_display_name", "not_json", "invalid_payload"}
    assert all(said for said in life.said)
    tell(f"{len(lines)} lines of the function: {dict(outcomes)}")
    tell(f"logs searched: {', '.join(f'{name} ({len(text)} bytes)' for name, text in life.logs.items())}")


@pytest.mark.parametrize("whose", ["function", "daprd"])
def test_nothing_personal_and_no_token_is_in_a_log(life: Life, whose: str, tell: Tell) -> None:
    logs = {name: text for name, text in life.logs.items() if name.endswith(f"{whose}.log")}
    assert logs
    found = {(name, what) for name, text in logs.items() for what, secret in life.secrets.items() if secret in text}
    assert found == set()
    if whose == "daprd":
        kinds = Counter(
            line.partition("level=")[2].partition(" ")[0] for text in logs.values() for line in text.splitlines()
        )
        tell(f"daprd at info: {dict(kinds)}")


def test_what_the_tools_say_has_no_token_and_nothing_personal(life: Life) -> None:
    """`--raw` is for that."""
    for said in life.said:
        lines = [line for line in said.splitlines() if any(secret in line for secret in life.secrets.values())]
        assert lines == []


def test_the_traces_lead_from_the_batch_to_synapse(life: Life, tell: Tell) -> None:
    spans = life.collector.spans
    names = Counter(span.name for span in spans)
    tell(f"spans: {dict(names)}")
    assert life.collector.services == {"matrix-account-sync"}
    [linked] = [span for span in spans if any(link.trace_id.hex() == TRACE for link in span.links)]
    assert linked.name == "user"
    [batch] = [span for span in spans if span.span_id == linked.parent_span_id]
    assert batch.name == "batch"
    calls = {span.name for span in spans if span.parent_span_id == linked.span_id}
    assert calls == {"synapse account", "synapse set_display_name"}
    tell(f"the batch's parent, from daprd: {batch.parent_span_id.hex() or 'none'}")


def test_what_was_left_at_the_end_was_exported_too(life: Life) -> None:
    """The last deletion is answered, and SIGTERM comes at once."""
    ended = [span for span in life.collector.spans if span.name in {"synapse deactivate", "synapse erase"}]
    assert len(ended) >= 2


def test_the_traces_have_nothing_personal(life: Life) -> None:
    text = "".join(str(request) for request in life.collector.requests)
    assert {what for what, secret in life.secrets.items() if secret in text} == set()
    assert mxid(life.users[0]) not in text
