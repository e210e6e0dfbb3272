"""A dry run reads and never writes: the guards are where requests, state and records leave, so they cover any call."""

import inspect
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from function.accounts.user_store import UserStore, Versioned
from function.dapr.pubsub import Publisher
from function.dapr.state_store import StateStore
from function.homeserver.messages import EMPTY
from function.homeserver.synapse import Synapse
from function.kafka.record import KafkaRecord
from function.operations import Operation
from tests.support.events import ALICE, BOB, EPOCH, deletion, profile
from tests.support.fake_dapr import FakeTokens
from tests.support.fake_synapse import ADMIN_TOKEN, FakeSynapse
from tests.support.harness import world

pytestmark = pytest.mark.anyio

WRITES = {
    "deactivate", "create", "link", "set_display_name", "set_avatar", "end_sessions", "upload", "delete_media", "redact",
}  # fmt: skip
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "accounts": (0, 10),
    "uploads": ("@service:test.example", 0, 10),
    "probe": (),
    "check_owner": (),
    "set_display_name": (ALICE, "Ada"),
    "set_avatar": (ALICE, "mxc://test.example/face"),
    "create": (BOB, "bob", "oidc-nova"),
    "link": (ALICE, "oidc-nova"),
    "end_sessions": (ALICE, EPOCH),
    "upload": (b"image", "image/png", ALICE),
    "delete_media": ("mxc://test.example/face",),
    "media_exists": ("mxc://test.example/face",),
    "uploaded_by": ("mxc://test.example/face",),
    "rate_limit": ("@service:test.example",),
    "redact": ("@nova-user:test.example", ["!room:test.example"]),
}
METHODS = [name for name, _ in inspect.getmembers(Synapse, inspect.iscoroutinefunction) if not name.startswith("_")]


class Later(Synapse):
    """A homeserver with calls that are added some day."""

    async def rename_devices(self, user_id: str) -> None:
        for method in ("POST", "PUT", "PATCH", "DELETE", "get"):
            await self._call(Operation.ACCOUNT, method, f"/_synapse/admin/v2/users/{user_id}/new", None, EMPTY)


@asynccontextmanager
async def read_only(homeserver: FakeSynapse) -> AsyncIterator[Later]:
    async with homeserver.client(read_only=True) as http:
        yield Later(http, FakeTokens(ADMIN_TOKEN), homeserver.server_name)


@pytest.fixture
def homeserver() -> FakeSynapse:
    found = FakeSynapse()
    found.add(found.mxid(ALICE))
    found.devices[found.mxid(ALICE)] = ["phone"]
    found.rooms[found.mxid(ALICE)] = 2
    return found


def operations(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The operations that were logged instead of being carried out."""
    return [record.__dict__["fields"]["operation"] for record in caplog.records if record.message == "dry_run"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("erase", [False, True])
async def test_no_request_but_get_arrives_at_the_homeserver(
    homeserver: FakeSynapse, caplog: pytest.LogCaptureFixture, method: str, erase: bool
) -> None:
    caplog.set_level(logging.INFO, "function")
    before = {mxid: dict(account) for mxid, account in homeserver.accounts.items()}
    async with read_only(homeserver) as synapse:
        keywords = {"erase": erase} if method == "deactivate" else {}
        await getattr(synapse, method)(*ARGUMENTS.get(method, (ALICE,)), **keywords)
    assert {sent for sent, _ in homeserver.requests} <= {"GET"}
    assert (homeserver.accounts, homeserver.media, homeserver.account_data) == (before, {}, {})
    written = "erase" if method == "deactivate" and erase else method
    assert operations(caplog) == ([written] if method in WRITES else [])


async def test_a_write_that_is_added_later_is_covered(
    homeserver: FakeSynapse, caplog: pytest.LogCaptureFixture
) -> None:
    """Only what is known to read is sent."""
    caplog.set_level(logging.INFO, "function")
    async with read_only(homeserver) as synapse:
        await synapse.rename_devices(ALICE)
    assert homeserver.requests == []
    assert operations(caplog) == ["account"] * 5


async def test_a_deletion_still_finds_out_whether_there_is_an_account(homeserver: FakeSynapse) -> None:
    """The outcome no_account, without the 404 of a request that is not sent."""
    async with read_only(homeserver) as synapse:
        assert await synapse.deactivate(ALICE, erase=True) is True
        assert await synapse.deactivate(BOB, erase=True) is False


@pytest.mark.parametrize("sent", [True, False], ids=["as usual", "in a dry run"])
async def test_outcomes_are_those_of_a_run_that_writes(sent: bool) -> None:
    """Another client of the homeserver, read-only, in the place of the usual one."""
    async with world(ALICE) as w, w.homeserver.client(read_only=not sent) as http:
        w.client._http = http
        assert await w.process(profile(ALICE, 1), deletion(BOB, 2)) == ["applied", "no_account"]
        assert (w.account(ALICE)["displayname"] == "Alice Example") is sent
        assert await w.process(deletion(ALICE, 3)) == ["applied"]
        assert w.account(ALICE)["deactivated"] is sent


class _Sidecar:
    """Reads are answered; anything else that is called is a failure of the test."""

    async def get_bulk_state(self, _: str, keys: list[str], **__: Any) -> Any:
        items = [type("Item", (), {"key": key, "data": b"", "etag": "", "error": ""}) for key in keys]
        return type("Response", (), {"items": items})

    async def get_state(self, _: str, __: str) -> Any:
        return type("Response", (), {"data": b"", "etag": ""})

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is called in a dry run")


async def test_state_is_read_and_not_written() -> None:
    """Neither records, nor other values, nor the probe's key."""
    sidecar: Any = _Sidecar()
    state = StateStore(sidecar, "statestore", read_only=True)
    found = await UserStore(state).read(ALICE)
    assert found.etag == ""
    await UserStore(state).write({ALICE: Versioned(found.state)})
    await state.write_values({"checkpoint": (b"{}", "")})
    await state.probe()


async def test_nothing_is_published(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "function")
    sidecar: Any = _Sidecar()
    await Publisher(sidecar, "pubsub", read_only=True).publish("topic", KafkaRecord(b"{}", "topic"), {}, "0")
    assert operations(caplog) == ["publish"]


async def test_otherwise_the_same_calls_do_arrive() -> None:
    """So the tests above would notice."""
    sidecar: Any = _Sidecar()
    with pytest.raises(AssertionError, match="save_state"):
        await StateStore(sidecar, "statestore").probe()
    with pytest.raises(AssertionError, match="_stub"):
        await StateStore(sidecar, "statestore").write_values({"key": (b"", "")})
    with pytest.raises(AssertionError, match="publish_event"):
        await Publisher(sidecar, "pubsub").publish("topic", KafkaRecord(b"{}", "topic"), {}, "0")
