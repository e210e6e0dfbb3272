"""Runs audits on the fakes."""

from collections.abc import Callable
from copy import deepcopy

from function.audit.findings import Cursor, Drift, Options
from function.audit.repair import Repairer
from function.audit.scan import Audit
from function.audit.users import UserList
from tests.support.harness import Harness

SETTINGS = {
    "MATRIX_HOMESERVER_URL": "http://127.0.0.1:9",
    "MATRIX_SERVER_NAME": "test.example",
    "APP_API_TOKEN": "token-of-the-sidecar",
}


def user(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def user_list(*user_ids: str) -> UserList:
    return UserList.read(f"{user_id}\n".encode() for user_id in user_ids)


def repairer_of(w: Harness, rate: float = 0) -> Repairer:
    return Repairer(w.client, w.updater, rate)


def make_audit(
    w: Harness, options: Options | None = None, *, repair: bool = False, cursor: Cursor | None = None,
    report: Callable[[Drift], None] = lambda _: None, users: UserList | None = None,
) -> Audit:  # fmt: skip
    repairer = repairer_of(w) if repair else None
    return Audit(
        w.client, w.homeserver.service_user, w.users, repairer, options or Options(), report, cursor, w.clock, users
    )


async def walk_all(audit: Audit) -> None:
    while not audit.finished:
        await audit.walk(lambda _count, _total: None)


async def audited(
    w: Harness, options: Options | None = None, *, repair: bool = False, cursor: Cursor | None = None,
    users: UserList | None = None,
) -> list[Drift]:  # fmt: skip
    found: list[Drift] = []
    await walk_all(make_audit(w, options, repair=repair, cursor=cursor, report=found.append, users=users))
    return found


def homeserver_state(w: Harness) -> dict[str, object]:
    return deepcopy({"accounts": w.homeserver.accounts, "media": w.homeserver.media, "rooms": w.homeserver.rooms})


def writes(w: Harness) -> list[tuple[str, str]]:
    return [(method, path) for method, path in w.homeserver.requests if method != "GET"]
