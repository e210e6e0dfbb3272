"""The whole life of an account on the real servers, and what each step costs Synapse by its own log."""

from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import nio
import pytest

from dev.identity_events import created, deleted, new_user, password_changed, profile
from dev.running_stack import mxid
from tests.contract.servers.cdn import Cdn, response
from tests.integration.servers.cdn import HOST, https_host, image
from tests.integration.stack import StackUnderTest, wait_until
from tests.support.images import GIF, PNG

Tell = Callable[[str], None]
GET, DEACTIVATE = "GET /_synapse/admin/v2/users/USER", "POST /_synapse/admin/v1/deactivate/USER"
NAME = "PUT /_matrix/client/v3/profile/USER/displayname"
AVATAR = "PUT /_matrix/client/v3/profile/USER/avatar_url"
ROOMS = "GET /_synapse/admin/v1/users/USER/joined_rooms"


@pytest.fixture(scope="module")
def cdn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cdn, Path]]:
    with https_host(tmp_path_factory.mktemp("cdn")) as host:
        yield host


@pytest.fixture(scope="module")
def living(
    world: StackUnderTest, cdn: tuple[Cdn, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StackUnderTest]:
    """The function with accounts made ahead, and images from one host. The other one rests: they are of one group."""
    world.settle()
    world.stop()
    host, authority = cdn
    more = {
        "MATRIX_PRECREATE_USERS": "true",
        "AVATAR_ALLOWED_HOSTS": f"{HOST}:{host.port}",
        "TEST_CDN_CA": str(authority),
    }
    with_images = StackUnderTest(
        world.stack, tmp_path_factory.mktemp("living"), more, module="tests.integration.programs.with_local_cdn"
    )
    try:
        with_images.start()
        yield with_images
    finally:
        with_images.stop()
        world.start()


def url(cdn: tuple[Cdn, Path], path: str) -> str:
    return f"https://{HOST}:{cdn[0].port}{path}"


def answer(cdn: tuple[Cdn, Path], path: str, content: bytes) -> None:
    cdn[0].answers[path] = content


def test_an_avatar_from_creation_to_erasure(living: StackUnderTest, cdn: tuple[Cdn, Path], tell: Tell) -> None:
    """Every step of one life, and the requests that it costs."""
    user = new_user()
    face = url(cdn, f"/{user}.png")
    answer(cdn, f"/{user}.png", image(PNG, "one"))
    steps = {
        "created": created(user, "ada"),
        "profile: name and image": profile(user, "Ada", 1, face),
        "profile: nothing of ours changed": profile(user, "Ada", 2, face),
        "profile: another image there": profile(user, "Ada", 3, face),
        "profile: image removed": profile(user, "Ada", 4, ""),
        "profile: image again": profile(user, "Ada", 5, face),
        "password changed, no session": password_changed(user, 6),
        "deleted, hard": deleted(user),
        "profile, late": profile(user, "Ada", 9),
    }
    seen = 0
    costs = {}
    for what, event in steps.items():
        if what == "profile: another image there":
            answer(cdn, f"/{user}.png", image(GIF, "two"))
        living.in_turn(event)
        calls = living.calls(user)
        costs[what] = [call for call in calls[seen:] if call != ROOMS]
        seen = len(calls)
        tell(f"{what}: {living.outcomes([event])[event.event_id]}: {len(costs[what])} calls: {', '.join(costs[what])}")
    upload = "POST /_matrix/media/v3/upload"
    assert costs["created"] == [GET, "PUT /_synapse/admin/v2/users/USER"]
    assert costs["profile: name and image"] == [NAME, upload, AVATAR]
    assert costs["profile: nothing of ours changed"] == []
    assert costs["profile: another image there"] == [upload, AVATAR]
    assert costs["profile: image removed"] == [AVATAR]
    assert costs["profile: image again"] == [upload, AVATAR]
    assert costs["deleted, hard"] == ["GET /_synapse/admin/v1/scheduled_tasks", DEACTIVATE]
    account = living.account(user)
    assert account
    assert (account["erased"], account["displayname"], account["avatar_url"]) == (True, None, None)
    media = living.stack.synapse.admin("GET", f"/_synapse/admin/v1/users/{mxid_of_admin(living)}/media").json()["media"]
    assert [one for one in media if user in (one["upload_name"] or "")] == []


def mxid_of_admin(world: StackUnderTest) -> str:
    return world.environment["MATRIX_SERVICE_USER"]


def test_a_cdn_that_is_down_delays_no_name_and_no_deletion(living: StackUnderTest, cdn: tuple[Cdn, Path]) -> None:
    """Names and deletions go on; the image comes with a replay."""
    ada, bob = new_user(), new_user()
    living.create(ada, bob)
    path = f"/{ada}.png"
    answer(cdn, path, response(503))
    event = profile(ada, "Ada", 1, url(cdn, path))
    living.send(event, deleted(bob))
    living.settle()
    assert living.account(ada)["displayname"] == "Ada"  # type: ignore[index]
    assert living.account(bob)["deactivated"]  # type: ignore[index]
    [letter] = living.letters([event.event_id])
    assert letter.reason == "avatar_unavailable"


def test_an_erased_user_has_left_twenty_rooms(living: StackUnderTest, tell: Tell) -> None:
    """A name that was written just before queues a join for each room, which may run after the leave."""
    user = new_user()
    living.create(user)
    admin = living.stack.synapse.admin
    for _ in range(20):
        room = admin("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"}).json()["room_id"]
        admin("POST", f"/_synapse/admin/v1/join/{room}", {"user_id": mxid(user)}).raise_for_status()

    def rooms() -> int:
        total: int = admin("GET", f"/_synapse/admin/v1/users/{mxid(user)}/joined_rooms").json()["total"]
        return total

    assert rooms() == 20
    living.in_turn(profile(user, "Ada", 1), deleted(user))
    tell(f"rooms right after the deletion was answered: {rooms()}")
    wait_until(lambda: ROOMS in living.calls(user), "a look at the rooms", 120)
    wait_until(lambda: rooms() == 0, "no room left", 60)
    tell(f"rooms in the end: {rooms()}; calls: {', '.join(living.calls(user))}")


def test_a_clients_session_ends_when_the_password_changes(living: StackUnderTest, tell: Tell) -> None:
    """As matrix-nio, a client of real life, sees it; and a new one stays, whatever comes again."""
    user = new_user()
    living.stack.synapse.create(mxid(user), "Ada", password="correct horse")

    async def logged_in() -> nio.AsyncClient:
        client = nio.AsyncClient(living.stack.synapse.url, mxid(user))
        response = await client.login("correct horse")
        assert isinstance(response, nio.LoginResponse), response
        return client

    async def life() -> None:
        old = await logged_in()
        assert isinstance(await old.whoami(), nio.WhoamiResponse)
        event = password_changed(user, 5)
        await anyio.to_thread.run_sync(living.in_turn, event)
        ended = await old.whoami()
        assert isinstance(ended, nio.WhoamiError)
        tell(f"before: logged in; after: {ended.status_code}")
        new = await logged_in()
        await anyio.to_thread.run_sync(living.in_turn, event, password_changed(user, 1))
        assert isinstance(await new.whoami(), nio.WhoamiResponse)
        tell("a new session after a redelivery and an old event: still logged in")
        for client in (old, new):
            await client.close()

    anyio.run(life)
    assert living.calls(user).count("POST /_synapse/admin/v2/users/USER/delete_devices") == 1


def test_a_soft_deletion_is_upgraded_by_a_hard_one(living: StackUnderTest) -> None:
    user = new_user()
    living.create(user)
    living.in_turn(deleted(user, soft=True))
    account = living.account(user)
    assert account
    assert (account["deactivated"], account["erased"], account["displayname"]) == (True, False, "before")
    living.in_turn(deleted(user))
    account = living.account(user)
    assert account
    assert (account["erased"], account["displayname"]) == (True, None)


@pytest.mark.parametrize("how", ["locked", "suspended"])
def test_a_locked_or_suspended_account_is_kept_in_step(living: StackUnderTest, how: str) -> None:
    """Both can be undone, and then the name should be right."""
    user = new_user()
    living.create(user)
    admin = living.stack.synapse.admin
    if how == "locked":
        admin("PUT", f"/_synapse/admin/v2/users/{mxid(user)}", {"locked": True}).raise_for_status()
    else:
        admin("PUT", f"/_synapse/admin/v1/suspend/{mxid(user)}", {"suspend": True}).raise_for_status()
    living.in_turn(profile(user, "Ada", 1), deleted(user))
    assert living.account(user)["erased"]  # type: ignore[index]


def test_an_account_that_another_client_reactivated_is_deactivated_again(living: StackUnderTest) -> None:
    """By the next deletion, whatever is known of the account; other events look at it once in ten minutes."""
    user = new_user()
    living.create(user)
    living.in_turn(profile(user, "Ada", 1), deleted(user))
    again = {"deactivated": False, "displayname": "back"}
    living.stack.synapse.admin("PUT", f"/_synapse/admin/v2/users/{mxid(user)}", again).raise_for_status()
    living.in_turn(deleted(user))
    account = living.account(user)
    assert account
    assert (account["deactivated"], account["erased"], account["displayname"]) == (True, True, None)
