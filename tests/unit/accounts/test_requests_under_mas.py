"""How many requests each event costs where Matrix Authentication Service (MAS) owns the accounts: as docs/mas.md says."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from function.kafka.record import KafkaRecord
from tests.support.events import ALICE, EPOCH, created, deletion, password, profile
from tests.support.mas_world import MasHarness, mas_world

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[3] / "docs" / "mas.md").read_text()
ROWS = {
    event.replace("`", ""): (of_mas, of_synapse)
    for event, of_mas, of_synapse in re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+(?: to \d+)?) \|$", PAGE, re.MULTILINE)
}
Prepare = Callable[[MasHarness], Awaitable[None]]


async def logged_in(w: MasHarness) -> None:
    await w.at_mas.add(ALICE)


async def no_one(_: MasHarness) -> None:
    pass


async def in_synapse_only(w: MasHarness) -> None:
    w.login(ALICE)


async def known(w: MasHarness) -> None:
    await logged_in(w)
    await w.process(profile(display_name="Ada"))


async def with_three_sessions(w: MasHarness) -> None:
    await known(w)
    for kind in ("user", "compat", "compat"):
        await w.at_mas.session(ALICE, kind, EPOCH - timedelta(hours=1))


async def soft_deleted(w: MasHarness) -> None:
    await logged_in(w)
    await w.process(deletion())


async def with_a_late_job(w: MasHarness) -> None:
    await logged_in(w)
    await w.at_mas.control("PUT", "jobs", {"held": True})


CASES: dict[str, tuple[Prepare, KafkaRecord]] = {
    "deletion": (logged_in, deletion()),
    "deletion, MAS's job is late or fails": (with_a_late_job, deletion()),
    "hard deletion after a soft one": (soft_deleted, deletion(second=2, soft=False)),
    "deletion, the account is in Synapse only": (in_synapse_only, deletion()),
    "deletion, no account": (no_one, deletion()),
    "deletion, delivered again": (soft_deleted, deletion()),
    "profile, the user's first": (logged_in, profile(display_name="Ada")),
    "profile, a new name": (known, profile(second=2, display_name="Ada Lovelace")),
    "profile that changes nothing": (known, profile(second=2, display_name="Ada")),
    "password change that ends three sessions": (with_three_sessions, password(second=3)),
    "created, with MATRIX_PRECREATE_USERS": (no_one, created()),
}


@pytest.mark.parametrize("event", CASES)
async def test_an_event_costs_the_requests_that_the_page_says(event: str) -> None:
    """Synapse's count is without what MAS asks of it."""
    prepare, record = CASES[event]
    async with mas_world() as w:
        await prepare(w)
        await w.delegated.mas.user("to have a token")
        await w.at_mas.control("DELETE", "requests")
        w.homeserver.requests.clear()
        await w.process(record)
        of_mas = len(await w.at_mas.control("GET", "requests"))
        of_synapse = sum(not path.startswith("/_synapse/mas/") for _, path in w.homeserver.requests)
    least, _, most = ROWS[event][1].partition(" to ")
    assert str(of_mas) == ROWS[event][0]
    assert int(least) <= of_synapse <= int(most or least)


def test_the_page_lists_no_other_event() -> None:
    assert ROWS.keys() == CASES.keys()
