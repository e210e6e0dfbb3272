"""Hypothesis strategies for a user's events."""

from collections.abc import Callable
from datetime import timedelta

from hypothesis import strategies as st

from function.events import Event, ProfileUpdated, UserDeleted
from function.failures import Reason, Rejected
from tests.fakes.events import ALICE, EPOCH

NAMES = st.sampled_from(["", "Ann", "Bea", "Ünïcödé 🦊"])
AVATARS = st.sampled_from(["", "mxc://test.example/one", "mxc://test.example/two"])
NO_AVATAR = Rejected(Reason.AVATAR_HOST_NOT_ALLOWED, "no host is allowed")


def _event(second: int, name: str, avatar: str | Rejected, erase: bool | None) -> Event:
    at = EPOCH + timedelta(seconds=second)
    if erase is None:
        return ProfileUpdated(f"event-{second}", ALICE, at, name, avatar)
    return UserDeleted(f"event-{second}", ALICE, at, erase=erase)


def events(*, deletions: bool = True, unusable_avatars: bool = True) -> st.SearchStrategy[list[Event]]:
    """Events of one user, oldest first, no two of one time."""
    avatars = AVATARS | st.just(NO_AVATAR) if unusable_avatars else AVATARS
    erase = st.sampled_from([None, None, None, False, True]) if deletions else st.none()
    one: Callable[[int], st.SearchStrategy[Event]] = lambda second: st.builds(  # noqa: E731
        _event, st.just(second), NAMES, avatars, erase
    )
    return st.integers(0, 6).flatmap(lambda count: st.tuples(*(one(second) for second in range(count)))).map(list)


@st.composite
def arrivals(
    draw: st.DrawFn, *, deletions: bool = True, unusable_avatars: bool = True
) -> tuple[list[Event], list[Event]]:
    """A user's events oldest first, and as they may arrive: in any order, some of them again."""
    happened = draw(events(deletions=deletions, unusable_avatars=unusable_avatars))
    again = draw(st.lists(st.sampled_from(happened), max_size=4)) if happened else []
    return happened, draw(st.permutations(happened + again))
