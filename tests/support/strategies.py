"""Hypothesis strategies for a user's events, their account and the state that is stored of them."""

from collections.abc import Callable
from datetime import timedelta

from hypothesis import strategies as st

from function.accounts.plan import ABSENT
from function.accounts.traces import Progress, Traces
from function.accounts.user_state import Copy, Status, UserState
from function.events.types import Event, PasswordChanged, ProfileUpdated, UserCreated, UserDeleted
from function.homeserver.account import Account
from function.outcomes import Reason, Rejected
from tests.support.events import ALICE, EPOCH

NAMES = st.sampled_from(["", "Ann", "Bea", "Ünïcödé 🦊"])
AVATARS = st.sampled_from(["", "mxc://test.example/one", "mxc://test.example/two"])
IMAGES = {"https://cdn.example/one.png": b"one", "https://cdn.example/two.png": b"two"}
NO_AVATAR = Rejected(Reason.AVATAR_INVALID, "neither an mxc:// nor an https:// address")
FACE = "https://cdn.example/one.png"
COPY = Copy(FACE, "mxc://test.example/copy", EPOCH, "sha256")

ACCOUNTS = st.builds(Account, st.just(True), st.booleans(), st.booleans(), NAMES, AVATARS | st.just(COPY.mxc))
TRACES = st.builds(
    Traces,
    st.just(EPOCH),
    st.none() | st.sampled_from(Progress),
    st.none() | st.sampled_from(Progress),
    redact_id=st.sampled_from(["", "redaction0"]),
    redactions=st.integers(0, 3),
)
RECORDS = st.builds(
    UserState,
    st.sampled_from(Status),
    st.just(EPOCH),
    st.none() | NAMES,
    st.none() | AVATARS | st.just(FACE),
    st.none() | ACCOUNTS | st.just(ABSENT),
    avatar_at=st.just(EPOCH),
    copy=st.none() | st.just(COPY),
    uploads=st.sampled_from([(), (COPY.mxc,), ("mxc://test.example/old", COPY.mxc)]),
    traces=st.none() | TRACES,
)


def _event(second: int, kind: str, name: str, avatar: str | Rejected) -> Event:
    at, event_id = EPOCH + timedelta(seconds=second), f"event-{second}"
    match kind:
        case "profile":
            return ProfileUpdated(event_id, ALICE, at, name, avatar)
        case "created":
            return UserCreated(event_id, ALICE, at, "ally")
        case "password":
            return PasswordChanged(event_id, ALICE, at)
    return UserDeleted(event_id, ALICE, at, erase=kind == "erase")


def events(
    *, deletions: bool = True, unusable_avatars: bool = True, others: bool = True
) -> st.SearchStrategy[list[Event]]:
    """Generates events of one user, oldest first, with distinct times."""
    good = AVATARS | st.sampled_from(sorted(IMAGES))
    avatars = good | st.just(NO_AVATAR) if unusable_avatars else good
    rare = (["created", "password"] if others else []) + (["delete", "erase"] if deletions else [])
    kinds = st.sampled_from(["profile"] * 5 + rare)
    one: Callable[[int], st.SearchStrategy[Event]] = lambda second: st.builds(  # noqa: E731
        _event, st.just(second), kinds, NAMES, avatars
    )
    return st.integers(0, 6).flatmap(lambda count: st.tuples(*(one(second) for second in range(count)))).map(list)


@st.composite
def arrivals(
    draw: st.DrawFn, *, deletions: bool = True, unusable_avatars: bool = True, others: bool = True
) -> tuple[list[Event], list[Event]]:
    """Generates a user's events, oldest first, and the same in an order of arrival: permuted, with some redelivered."""
    happened = draw(events(deletions=deletions, unusable_avatars=unusable_avatars, others=others))
    again = draw(st.lists(st.sampled_from(happened), max_size=4)) if happened else []
    return happened, draw(st.permutations(happened + again))


_TIMES = st.datetimes(timezones=st.just(EPOCH.tzinfo))
_ACCOUNTS = st.builds(Account, st.booleans(), st.booleans(), st.booleans(), st.text(), st.text())
STATES = st.builds(
    UserState,
    st.sampled_from(Status),
    st.none() | _TIMES,
    st.none() | NAMES | st.text(),
    st.none() | AVATARS,
    st.none() | _ACCOUNTS,
    st.none() | _TIMES,
)
