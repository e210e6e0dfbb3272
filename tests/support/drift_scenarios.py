"""Produces each kind of drift for ALICE as it happens in practice: events, then a change by another client, or a failure."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from function.audit.drift import Kind
from tests.support.events import ALICE, deletion, profile
from tests.support.harness import Harness, world
from tests.support.mas_world import MasHarness, mas_world

FACE = "https://cdn.example/face.png"


async def _made_after_the_deletion(w: Harness) -> None:
    await w.process(deletion(soft=False))
    w.login(ALICE)


async def _reactivated(w: Harness) -> None:
    w.login(ALICE)
    await w.process(profile(second=1), deletion(second=2))
    w.account()["deactivated"] = False


async def _erasure_taken_back(w: Harness) -> None:
    w.login(ALICE)
    await w.process(deletion(soft=False))
    w.account()["erased"] = False


async def _written_after_the_erasure(w: Harness) -> None:
    w.login(ALICE)
    await w.process(deletion(soft=False))
    w.account().update(displayname="Alice", avatar_url="mxc://test.example/face")


async def _rooms_joined_late(w: Harness) -> None:
    w.login(ALICE)
    await w.process(deletion())
    w.homeserver.rooms[w.homeserver.mxid(ALICE)] = 3


async def _another_name(w: Harness) -> None:
    w.login(ALICE)
    await w.process(profile(display_name="Alice"))
    w.account()["displayname"] = "Mallory"


async def _another_avatar(w: Harness) -> None:
    w.login(ALICE)
    w.avatars.images[FACE] = b"face"
    await w.process(profile(avatar_url=FACE))
    w.account()["avatar_url"] = "mxc://test.example/other"


async def _image_that_was_deleted(w: Harness) -> None:
    w.login(ALICE)
    w.avatars.images[FACE] = b"face"
    await w.process(profile(avatar_url=FACE))
    del w.homeserver.media[str(w.account()["avatar_url"])]


async def _image_that_outlived_the_erasure(w: Harness) -> None:
    w.login(ALICE)
    w.avatars.images[FACE] = b"face"
    await w.process(profile(second=1, avatar_url=FACE))
    w.homeserver.failing_for.add("/_synapse/admin/v1/media")
    await w.process(deletion(second=2, soft=False))
    w.homeserver.failing_for.clear()


async def _upload_that_was_forgotten(w: Harness) -> None:
    w.login(ALICE)
    await w.client.upload(b"face", "image/png", ALICE)
    w.clock.now += timedelta(hours=2)


async def _erased_before_messages_were_redacted(w: Harness) -> None:
    w.login(ALICE)
    w.homeserver.say(w.homeserver.mxid(ALICE))
    await w.process(deletion(soft=False))


async def _erased_before_files_were_deleted(w: Harness) -> None:
    w.login(ALICE)
    w.homeserver.add_upload(w.homeserver.mxid(ALICE), "file")
    await w.process(deletion(soft=False))


async def _account_that_was_lost(w: Harness) -> None:
    w.login(ALICE)
    await w.process(profile(display_name="Alice"))
    del w.homeserver.accounts[w.homeserver.mxid(ALICE)]


async def _active_in_mas(w: Harness) -> None:
    """Another client has reactivated the user in MAS, and Synapse's account was deactivated again by Synapse's own call."""
    assert isinstance(w, MasHarness)
    await w.at_mas.add(ALICE)
    await w.process(deletion())
    await w.at_mas.admin("POST", f"users/{await w.at_mas.id_of(ALICE)}/reactivate")
    w.account()["deactivated"] = True


MADE: Mapping[Kind, Callable[[Harness], Awaitable[None]]] = {
    Kind.MISSING: _account_that_was_lost,
    Kind.ACTIVE: _made_after_the_deletion,
    Kind.REACTIVATED: _reactivated,
    Kind.ACTIVE_IN_MAS: _active_in_mas,
    Kind.NOT_ERASED: _erasure_taken_back,
    Kind.PERSONAL_DATA: _written_after_the_erasure,
    Kind.IN_ROOMS: _rooms_joined_late,
    Kind.DISPLAY_NAME: _another_name,
    Kind.AVATAR: _another_avatar,
    Kind.AVATAR_GONE: _image_that_was_deleted,
    Kind.LEFTOVER_MEDIA: _image_that_outlived_the_erasure,
    Kind.OWN_MESSAGES: _erased_before_messages_were_redacted,
    Kind.OWN_MEDIA: _erased_before_files_were_deleted,
    Kind.ORPHANED_MEDIA: _upload_that_was_forgotten,
}


def world_of(kind: Kind, *logged_in: str) -> AbstractAsyncContextManager[Harness]:
    """Opens the harness in which the kind can be made."""
    return mas_world(*logged_in) if kind is Kind.ACTIVE_IN_MAS else world(*logged_in)
