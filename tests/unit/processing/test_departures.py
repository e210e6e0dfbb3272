"""The pending room checks of the previous release are taken over."""

import json
from collections.abc import Mapping

import pytest

from function.accounts.departures import KEY
from function.dapr.state_store import Value
from tests.support.events import ALICE, BOB, CAROL
from tests.support.fake_dapr import FakeStateStore
from tests.support.rechecks import Pod

pytestmark = pytest.mark.anyio


def pending(pod: Pod, *user_ids: str, erase: bool = False, checks: int = 0) -> bytes:
    """As the previous release stores them."""
    return json.dumps({user: [pod.clock.now.isoformat(), erase, checks] for user in user_ids}).encode()


async def write(pod: Pod, value: bytes) -> None:
    [(_, etag)] = (await pod.state.read_values([KEY])).values()
    await pod.state.write_values({KEY: (value, etag)})


async def test_pending_checks_of_the_previous_release_are_run() -> None:
    """At the start, and those that its pods add during a rolling update."""
    pod = Pod()
    await write(pod, pending(pod, ALICE, BOB, checks=2))
    assert await pod.run(2) == [ALICE, BOB]
    assert pod.state.stored_bytes(KEY) == b"{}"
    await write(pod, pending(pod, CAROL, erase=True))
    assert await pod.run(3) == [CAROL]
    assert await pod.run(60) == []


class StoreWithRival(FakeStateStore):
    """A state store in which a pod of the previous release writes `value` just before our next write of its key."""

    value = b""

    async def write_values(self, values: Mapping[str, Value]) -> None:
        if KEY in values and self.value:
            self._put({KEY: self.value})
            self.value = b""
        await super().write_values(values)


async def test_a_check_added_while_others_are_taken_over_is_not_lost() -> None:
    """By a pod of the previous release, between our read and our write."""
    state = StoreWithRival()
    pod = Pod(state)
    await write(pod, pending(pod, ALICE))
    state.value = pending(pod, ALICE, BOB)
    await pod.loop.run_due()
    assert state.value == b""
    assert set(json.loads(state.stored_bytes(KEY))) == {BOB}
    assert await pod.run(3) == [ALICE, BOB]


@pytest.mark.parametrize("value", [b"{", b"7", b'{"a":7}', b'{"a":[]}', b'{"a":["yesterday",false,0]}'])
async def test_a_value_that_cannot_be_read_stops_no_check(value: bytes) -> None:
    pod = Pod()
    await write(pod, value)
    await pod.add(ALICE)
    assert await pod.run(2) == [ALICE]
    assert pod.state.stored_bytes(KEY) == value
