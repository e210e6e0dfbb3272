"""An erasure to the last trace on the real servers: what another member's client sees before it and after it."""

import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import anyio
import nio
import pytest

from dev.identity_events import deleted, new_user, profile
from dev.running_stack import mxid
from tests.integration.stack import StackUnderTest, wait_until
from tests.support.images import PNG

Tell = Callable[[str], None]
ROOMS, MESSAGES, FILES = 3, 50, 5
NAME = "Ada Lovelace"
REMOVED = {"messages": "done", "media": "done"}


@pytest.fixture(scope="module")
def removing(world: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    """The function with both settings on, and with short waits. The other one rests: they are of one group."""
    world.settle()
    world.stop()
    more = {"MATRIX_ERASE_MESSAGES": "true", "MATRIX_ERASE_MEDIA": "true"}
    program = "tests.integration.programs.quick_looks"
    function = StackUnderTest(world.stack, tmp_path_factory.mktemp("removing"), more, module=program)
    try:
        function.start()
        yield function
    finally:
        function.stop()
        world.start()


@asynccontextmanager
async def client_of(world: StackUnderTest, user: str) -> AsyncIterator[nio.AsyncClient]:
    """Yields a client of the user, without a limit of its rate."""
    synapse, quoted = world.stack.synapse, quote(mxid(user))
    limit = {"messages_per_second": 0, "burst_count": 0}
    synapse.admin("POST", f"/_synapse/admin/v1/users/{quoted}/override_ratelimit", limit).raise_for_status()
    answer = synapse.admin("POST", f"/_synapse/admin/v1/users/{quoted}/login", {}).raise_for_status()
    client = nio.AsyncClient(synapse.url, mxid(user))
    client.access_token, client.user_id = answer.json()["access_token"], mxid(user)
    try:
        yield client
    finally:
        await client.close()


async def live(
    person: nio.AsyncClient, member: nio.AsyncClient, messages: int = MESSAGES
) -> tuple[list[str], list[str]]:
    """Has the person talk to the member in some rooms, and show some files; returns rooms and files."""
    rooms = []
    for number in range(ROOMS):
        room = await (person, member)[number % 2].room_create(preset=nio.RoomPreset.public_chat)
        assert isinstance(room, nio.RoomCreateResponse)
        rooms.append(room.room_id)
        for client in (person, member):
            assert isinstance(await client.join(room.room_id), nio.JoinResponse)
    files = []
    for number in range(FILES):
        content = PNG + bytes([number])
        upload, _ = await person.upload(io.BytesIO(content), "image/png", "ada.png", filesize=len(content))
        assert isinstance(upload, nio.UploadResponse)
        files.append(upload.content_uri)
    for number in range(messages):
        message = {"msgtype": "m.text", "body": f"I am {NAME}, {number}"}
        if number < FILES:
            message = {"msgtype": "m.image", "body": "ada.png", "url": files[number]}
        sent = await person.room_send(rooms[number % ROOMS], "m.room.message", message)
        assert isinstance(sent, nio.RoomSendResponse)
    return rooms, files


async def seen(member: nio.AsyncClient, person: str, rooms: list[str], files: list[str]) -> dict[str, int]:
    """Returns what the member's client can see of the person."""
    events: list[nio.Event] = []
    joined = 0
    for room in rooms:
        found = await member.room_messages(room, limit=500)
        assert isinstance(found, nio.RoomMessagesResponse)
        events += [event for event in found.chunk if event.sender == mxid(person)]
        members = await member.joined_members(room)
        assert isinstance(members, nio.JoinedMembersResponse)
        joined += any(one.user_id == mxid(person) for one in members.members)
    downloads = [await member.download(file) for file in files]
    profiles = [await member.get_displayname(mxid(person)), await member.get_avatar(mxid(person))]
    path = nio.Api._build_path(["user_directory", "search"], {"access_token": member.access_token})
    answer = await member.send("POST", path, nio.Api.to_json({"search_term": mxid(person)}))
    return {
        "text messages": sum(isinstance(event, nio.RoomMessageText) for event in events),
        "image messages": sum(isinstance(event, nio.RoomMessageImage) for event in events),
        "redacted events": sum(isinstance(event, nio.RedactedEvent) for event in events),
        "joins that show the name": sum(NAME in str(event.source["content"]) for event in events if _is_join(event)),
        "files": sum(isinstance(download, nio.DownloadResponse) for download in downloads),
        "rooms with the person": joined,
        "profile fields": sum(
            bool(getattr(one, "displayname", None) or getattr(one, "avatar_url", None)) for one in profiles
        ),
        "hits in the user directory": len((await answer.json())["results"]),
    }


def _is_join(event: nio.Event) -> bool:
    source = event.source
    return bool(source["type"] == "m.room.member" and source["content"].get("membership") == "join")


def removals(world: StackUnderTest) -> list[dict[str, str]]:
    return [line for line in world.function.log_lines() if line.get("event") == "removal"]


def ended(world: StackUnderTest, before: int) -> bool:
    """Returns whether both parts have ended since a number of lines."""
    lines = [line for line in removals(world)[before:] if line["outcome"] in {"done", "failed"}]
    return {line["part"]: line["outcome"] for line in lines} == REMOVED


def test_a_member_sees_nothing_of_an_erased_person_any_more(removing: StackUnderTest, tell: Tell) -> None:
    """Three rooms, fifty messages, five files, a name and an avatar."""
    person, member = new_user(), new_user()
    removing.create(person, member)

    async def life() -> tuple[dict[str, int], dict[str, int]]:
        async with client_of(removing, member) as theirs, client_of(removing, person) as own:
            await anyio.to_thread.run_sync(removing.in_turn, profile(person, NAME, 1))
            rooms, files = await live(own, theirs)
            await own.set_avatar(files[0])
            before = await seen(theirs, person, rooms, files)
            lines = len(removals(removing))
            await anyio.to_thread.run_sync(removing.in_turn, deleted(person))
            await anyio.to_thread.run_sync(
                wait_until, lambda: ended(removing, lines), "messages and files are removed", 150.0
            )
            return before, await seen(theirs, person, rooms, files)

    before, after = anyio.run(life)
    tell("\n".join(f"{name:28} {before[name]:4} before {after[name]:4} after" for name in before))
    assert before == {
        "text messages": MESSAGES - FILES, "image messages": FILES, "redacted events": 0,
        "joins that show the name": before["joins that show the name"], "files": FILES, "rooms with the person": ROOMS,
        "profile fields": 2, "hits in the user directory": 1,
    }  # fmt: skip
    assert before["joins that show the name"] >= ROOMS
    assert after == dict.fromkeys(before, 0) | {"redacted events": after["redacted events"]}
    assert after["redacted events"] >= MESSAGES
    account = removing.account(person)
    assert account is not None
    assert (account["deactivated"], account["erased"]) == (True, True)
    assert NAME not in str(removing.function.log_lines())


def test_the_death_of_synapse_and_of_the_function_in_the_middle_of_a_redaction_loses_nothing(
    removing: StackUnderTest, tell: Tell
) -> None:
    """Synapse goes on with a redaction after its restart, within a minute; the record has its id."""
    person, member = new_user(), new_user()
    removing.create(person, member)

    async def killed() -> dict[str, int]:
        async with client_of(removing, member) as theirs, client_of(removing, person) as own:
            rooms, files = await live(own, theirs, messages=2 * MESSAGES)
            lines = len(removals(removing))
            await anyio.to_thread.run_sync(removing.in_turn, deleted(person))
            begun = lambda: any(line["outcome"] == "begun" for line in removals(removing)[lines:])  # noqa: E731
            await anyio.to_thread.run_sync(wait_until, begun, "the redaction has begun", 150.0)
            await anyio.to_thread.run_sync(_kill_both, removing)
            await anyio.to_thread.run_sync(
                wait_until, lambda: ended(removing, lines), "messages and files are removed", 240.0
            )
            return await seen(theirs, person, rooms, files)

    after = anyio.run(killed)
    tell(f"after both were killed: {after['text messages']} messages and {after['files']} files are left")
    assert after == dict.fromkeys(after, 0) | {"redacted events": after["redacted events"]}


def _kill_both(world: StackUnderTest) -> None:
    world.function.stop(kill=True)
    world.stack.synapse.stop(kill=True)
    world.stack.synapse.start(lambda _: None)
    world.function.start()


def test_the_audit_finds_what_came_after_the_removal_and_has_it_removed(
    removing: StackUnderTest, tmp_path: Path
) -> None:
    """A token with which an admin acts as the user outlives the erasure. Only this user is audited: others are of other tests."""
    person, users = new_user(), tmp_path / "users"
    users.write_text(person)
    removing.create(person)

    async def life() -> None:
        async with client_of(removing, person) as own:
            lines = len(removals(removing))
            await anyio.to_thread.run_sync(removing.in_turn, deleted(person))
            await anyio.to_thread.run_sync(wait_until, lambda: ended(removing, lines), "nothing is left", 150.0)
            upload, _ = await own.upload(io.BytesIO(PNG), "image/png", "ada.png", filesize=len(PNG))
            assert isinstance(upload, nio.UploadResponse)
            assert await anyio.to_thread.run_sync(audited, removing, users) == ["found"]
            assert await anyio.to_thread.run_sync(audited, removing, users, "--repair", "--yes") == ["repaired"]
            assert isinstance(await own.download(upload.content_uri), nio.DownloadError)
            assert await anyio.to_thread.run_sync(audited, removing, users) == []

    anyio.run(life)


def audited(world: StackUnderTest, users: Path, *options: str) -> list[str]:
    """Returns the results of an audit for what the erased users of a list left behind."""
    done = world.tool(
        "audit", "--json", "--users", str(users), "--kind", "own_messages", "--kind", "own_media", *options
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line["drift"]["result"] for line in lines if "drift" in line]
