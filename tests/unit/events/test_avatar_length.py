"""How long the URL of an avatar may be: Synapse stores an mxc:// URL, an https:// URL is only fetched."""

import pytest

from function.avatars.image_url import MAX_URL_BYTES
from function.events.payloads import MAX_AVATAR
from function.events.types import ProfileUpdated
from function.outcomes import Reason, Rejected
from tests.support.decoding import PROFILE, read
from tests.support.events import profile_payload

LONGEST = [
    "https://cdn.example/a.png?X-Amz-Security-Token=".ljust(MAX_URL_BYTES, "a"),
    "mxc://test.example/".ljust(MAX_AVATAR, "a"),
]


def avatar_of(address: str) -> str | Rejected:
    decoded = read(profile_payload(avatar_url=address), event_type=PROFILE)
    assert isinstance(decoded, ProfileUpdated)
    return decoded.avatar


@pytest.mark.parametrize("address", LONGEST, ids=["https", "mxc"])
def test_an_avatar_may_be_as_long_as_what_stores_or_fetches_it_allows(address: str) -> None:
    assert avatar_of(address) == address


@pytest.mark.parametrize(
    ("address", "detail"),
    [
        (LONGEST[0] + "a", "over 8192 bytes"),
        (LONGEST[0][:-1] + "\u00fc", "over 8192 bytes"),
        (LONGEST[1] + "a", "over 1000 characters"),
    ],
    ids=["https", "https in bytes", "mxc"],
)
def test_a_longer_avatar_is_invalid_and_its_detail_says_so(address: str, detail: str) -> None:
    rejected = avatar_of(address)
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.detail) == (Reason.AVATAR_INVALID, detail)
