"""Logs: an event name and allow-listed fields, whatever is logged."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from function.outcomes import Reason
from function.telemetry.logs import FIELDS, JsonFormatter, configure, log, log_failure, plain
from tests.support.events import ALICE, BOB, deletion, delivered, profile
from tests.support.fake_synapse import ADMIN_TOKEN
from tests.support.harness import world

SECRETIVE = "s3cr3t-value"


class Lines:
    """Everything that any logger of the process writes, formatted as in production."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(JsonFormatter())

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    found = Lines()
    root, ours = logging.getLogger(), logging.getLogger("function")
    root.addHandler(found.handler)
    root.setLevel(logging.DEBUG)
    ours.setLevel(logging.DEBUG)
    yield found
    root.removeHandler(found.handler)


def test_a_line_is_one_object_with_time_level_event_and_fields(lines: Lines) -> None:
    """A machine reads it first."""
    log(logging.WARNING, "batch_retry", reason="conflict", size=3)
    [line] = lines.objects
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "event": "batch_retry", "reason": "conflict", "size": 3}


def test_a_field_that_is_not_on_the_list_is_dropped(lines: Lines) -> None:
    """A guarantee, not a convention."""
    log(logging.INFO, "event", display_name=SECRETIVE, user_id=SECRETIVE, body=SECRETIVE, token=SECRETIVE, size=1)
    assert lines.objects[0]["size"] == 1
    assert SECRETIVE not in lines.text


@pytest.mark.parametrize("field", ["user_id", "display_name", "username", "avatar", "url", "token", "body", "error"])
def test_nothing_personal_is_on_the_list(field: str) -> None:
    """A new field has to pass this list."""
    assert field not in FIELDS


def test_an_exceptions_text_does_not_appear(lines: Lines) -> None:
    """The text of an httpx error holds the address, and ours hold user ids; where it happened is enough."""
    try:
        try:
            raise KeyError(SECRETIVE)
        except KeyError as error:
            raise ValueError(f"https://synapse/{SECRETIVE}") from error
    except ValueError as error:
        log_failure("user_failed", error)
    [line] = lines.objects
    assert (line["event"], line["error"]) == ("user_failed", "ValueError")
    assert line["at"][-1].startswith("test_logs.py:")
    assert SECRETIVE not in lines.text


def test_other_libraries_keep_logger_and_level_only(lines: Lines) -> None:
    """httpx logs addresses, others bodies."""
    logging.getLogger("httpx").info("HTTP Request: GET %s", SECRETIVE)
    try:
        raise OSError(SECRETIVE)
    except OSError:
        logging.getLogger("grpc").exception("call to %s failed", SECRETIVE, extra={"fields": {"size": SECRETIVE}})
    first, second = lines.objects
    assert (first["event"], first["logger"], first["level"]) == ("library", "httpx", "info")
    assert (second["logger"], second["error"]) == ("grpc", "OSError")
    assert SECRETIVE not in lines.text


def test_a_line_stays_one_line_whatever_is_in_a_field(lines: Lines) -> None:
    """A newline in a value would forge a line."""
    log(logging.INFO, "event", detail='a\nb\u2028"{}', outcomes={"applied": 1}, size=object())
    assert len(lines.text.splitlines()) == 1
    assert lines.objects[0]["detail"] == 'a\nb\u2028"{}'


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("event-1", "event-1"),
        ("a" * 128, "a" * 128),
        ("a" * 129, "-"),
        ("", "-"),
        ("Alice Example", "-"),
        ("a\n", "-"),
        ("é", "-"),
        ("\ud800", "-"),
        ("<script>", "-"),
    ],
)
def test_an_identifier_is_shown_only_if_it_looks_like_one(value: str, shown: str) -> None:
    """The producer could put anything there."""
    assert plain(value) == shown


def test_the_level_is_that_of_the_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """DEBUG for a line for every event; other libraries stay at warnings."""
    root = logging.getLogger()
    before = root.handlers[:]
    try:
        configure("INFO")
        log(logging.DEBUG, "unseen")
        log(logging.INFO, "seen")
        logging.getLogger("httpx").info("unseen")
        [line] = capsys.readouterr().err.splitlines()
        assert json.loads(line)["event"] == "seen"
    finally:
        root.handlers[:] = before


@pytest.mark.anyio
async def test_nothing_personal_is_logged_from_decoding_to_the_answer(lines: Lines) -> None:
    """Names, addresses, ids and tokens, through every outcome that an event can have."""
    face, other = "mxc://test.example/face", "https://cdn.example/face.png"
    async with world(ALICE, BOB) as w:
        w.homeserver.refused_names.add("Rude Name")
        for records in (
            [profile(ALICE, 1, display_name="Secret Name", avatar_url=face)],
            [profile(ALICE, 2, display_name="Rude Name", avatar_url=other)],
            [profile(ALICE, 0, display_name="Old Name"), profile(BOB, 1, username="bobby", display_name=None)],
            [profile(ALICE, 9, display_name="Long Name" * 99), delivered(b'{"x": "Broken Name"', "UserDeletedEvent")],
            [profile("Wrong Id", 1), deletion(ALICE, 3, soft=False), deletion(BOB, 3)],
        ):
            await w.process(*records)
        w.homeserver.failing_for.add(w.homeserver.mxid(BOB))
        await w.process(deletion(BOB, 4, soft=False))
        w.homeserver.tokens.clear()
        await w.process(profile(BOB, 5), deletion(ALICE, 5))
        w.health.failure = None
        w.homeserver.down = True
        await w.process(deletion(ALICE, 6))
        w.health.failure = None

        async def broken(_method: str, path: str) -> None:
            raise RuntimeError(path)

        w.homeserver.before = broken
        await w.process(deletion(ALICE, 7))
        assert Reason.SYNAPSE_REFUSED in w.letters.reasons
    outcomes = {line.get("outcome") for line in lines.objects}
    assert {"applied", "stale", "dead_letter", "retry"} <= outcomes
    for secret in (ALICE, BOB, "Name", "ally", "bobby", "Wrong Id", "face", "cdn", "nova-", ADMIN_TOKEN):
        assert secret not in lines.text, secret
