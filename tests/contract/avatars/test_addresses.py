"""`AvatarSource` and where a URL leads: redirects, names, addresses, proxies."""

import asyncio

import pytest

from function.avatars.fetch import (
    AvatarSource,
    Image,
)
from function.avatars.image_url import MAX_URL_BYTES
from function.avatars.ssrf_guard import is_global
from function.outcomes import Reason
from tests.contract.servers.avatar_host import HOST, INSIDE, INTERNET, Net, drip, refusal
from tests.contract.servers.cdn import moved, pour, response
from tests.support.images import JPEG, PNG

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_three_times(net: Net, status: int) -> None:
    net.cdn.answers |= {
        "/a": moved(f"{net.url}/b", status),
        "/b": moved("/c", status),
        "/c": moved(f"https://OTHER.example:{net.cdn.port}/d", status),
        "/d": response(body=JPEG),
    }
    assert isinstance(await (await net.source("other.example")).fetch(f"{net.url}/a"), Image)
    assert net.cdn.requests[-1]["host"] == f"other.example:{net.cdn.port}"


SIGNED = [
    "/nova/ada%27s%20%28new%29.png?X-Amz-Credential=AKIA%2F20260101%2Fs3&X-Amz-Date=20260101T093000Z&X-Amz-Signature=0a",
    "/b/ada%3Aone%2Ftwo%40.png?Expires=1767259800&Signature=a%2Bb%2fc%3D%3D",
    "/ada's(1)!*.png?Policy=eyJ~-_&Signature=a+b&Key-Pair-Id=K1&",
    "//a//./b/../c.png?",
]


@pytest.mark.parametrize("target", SIGNED)
async def test_a_signed_address_is_asked_for_letter_by_letter(net: Net, target: str) -> None:
    net.cdn.answers[target] = response(body=PNG)
    assert isinstance(await net.fetch(target), Image)
    assert [request["path"] for request in net.cdn.requests] == [target]


@pytest.mark.parametrize("target", SIGNED)
@pytest.mark.parametrize("base", ["https://other.example:{port}", "//other.example:{port}", ""])
async def test_so_is_one_that_a_redirect_leads_to(net: Net, base: str, target: str) -> None:
    location = base.format(port=net.cdn.port) + (target if base else target.replace("//", "/", 1))
    asked = target if base else target.replace("//", "/", 1)
    net.cdn.answers |= {"/a%2Fb/c?d=/": moved(location), asked: response(body=PNG)}
    assert isinstance(await (await net.source("other.example")).fetch(f"{net.url}/a%2Fb/c?d=/"), Image)
    assert net.cdn.requests[-1]["path"] == asked


@pytest.mark.parametrize(
    ("location", "asked"), [("e%27.png?", "/a%2Fb/e%27.png?"), ("../e", "/e"), ("?f=%2F", "/a%2Fb/c?f=%2F")]
)
async def test_a_relative_redirect_is_relative_to_the_url_that_was_asked_for(
    net: Net, location: str, asked: str
) -> None:
    net.cdn.answers |= {"/a%2Fb/c?d=/": moved(location), asked: response(body=PNG)}
    assert isinstance(await net.fetch("/a%2Fb/c?d=/"), Image)


async def test_a_location_in_utf8_is_percent_encoded(net: Net) -> None:
    """As browsers do; some hosts send names as they are."""
    net.cdn.answers |= {"/a": moved("/b\u00fccher.png"), "/b%C3%BCcher.png": response(body=PNG)}
    assert isinstance(await net.fetch(), Image)


async def test_the_longest_url_is_fetched_and_redirected_to(net: Net) -> None:
    start = f"{net.url}/b?X-Amz-Security-Token="
    longest = start.ljust(MAX_URL_BYTES, "a").removeprefix(net.url)
    net.cdn.answers |= {"/a": moved(net.url + longest), longest: response(body=PNG)}
    assert isinstance(await net.fetch(), Image)
    assert isinstance(await net.fetch(longest), Image)
    assert await net.refusal(longest + "a") == (Reason.AVATAR_INVALID, "not an https address")


async def test_the_body_of_a_redirect_is_not_waited_for(net: Net) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(response(302, Location="/b", Content_Length=""))
        await pour(writer, bytes(0x10000))

    net.cdn.answers |= {"/a": endless, "/b": response(body=PNG)}
    assert isinstance(await net.fetch(), Image)


async def test_a_fourth_redirect_is_not_followed(net: Net) -> None:
    net.cdn.answers |= {"/a": moved("/b"), "/b": moved("/c"), "/c": moved("/d"), "/d": moved("/e"), "/e": drip}
    assert await net.refusal() == (Reason.AVATAR_REDIRECTS, "more than 3")
    assert len(net.cdn.requests) == 4


async def test_a_redirect_in_a_circle_ends(net: Net) -> None:
    net.cdn.answers["/a"] = moved("/a")
    assert await net.refusal() == (Reason.AVATAR_REDIRECTS, "more than 3")


@pytest.mark.parametrize(
    "location",
    [
        "http://cdn.example:{port}/b",
        "//other.example:{port}/b",
        "https://cdn.example/b",  # another port
        "https://127.0.0.1:{port}/b",
        "https://[::1]:{port}/b",
        "https://[::ffff:127.0.0.1]:{port}/b",
        "https://2130706433:{port}/b",
        "https://localhost:{port}/b",
        "https://cdn.example:{port}@127.0.0.1:{port}/b",
        "https://me:secret@cdn.example:{port}/b",
        "file:///etc/passwd",
        "https://cdn.example:99999/",
        "",
    ],
)
async def test_a_redirect_leads_nowhere_that_could_not_be_asked_for(net: Net, location: str) -> None:
    net.cdn.answers |= {"/a": moved(location.format(port=net.cdn.port)), "/b": response(body=PNG)}
    assert (await net.refusal())[0] is Reason.AVATAR_REDIRECTS
    assert len(net.cdn.requests) == 1
    assert net.resolver.asked == [HOST]


async def test_a_redirect_to_an_allowed_name_that_leads_inside_is_refused(net: Net) -> None:
    """The address is judged at each hop, not only at the first."""
    net.resolver.answers = [[INTERNET], [INSIDE]]
    net.cdn.answers["/a"] = moved(f"https://other.example:{net.cdn.port}/b")
    source = await net.source("other.example")
    assert await refusal(source, f"{net.url}/a") == (Reason.AVATAR_ADDRESS_REFUSED, "")
    assert net.resolver.asked == [HOST, "other.example"]


INNER = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "0.0.0.0", "::", "10.0.0.1", "fe80::1%lo"]


@pytest.mark.parametrize("address", INNER)
async def test_a_name_that_leads_inside_is_refused(net: Net, address: str) -> None:
    """By the rule of production; the first, third and fifth would reach the host inside."""
    net.resolver.answers = [[address]]
    assert await net.refusal(permitted=is_global) == (Reason.AVATAR_ADDRESS_REFUSED, "")


async def test_an_address_instead_of_a_name_is_judged_too(net: Net) -> None:
    """On the allow-list by a mistake, and no name that anybody resolves."""
    source = await net.source(INSIDE, "[::ffff:127.0.0.1]", permitted=is_global)
    for host in (INSIDE, "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"):
        address = f"https://{host}:{net.cdn.port}/a"
        assert await refusal(source, address) == (Reason.AVATAR_ADDRESS_REFUSED, "")
    assert net.resolver.asked == []


async def test_a_name_that_resolves_inside_the_second_time_is_refused_then(net: Net) -> None:
    """DNS rebinding from one fetch to the next."""
    net.resolver.answers = [[INTERNET], [INSIDE]]
    net.cdn.answers["/a"] = response(body=PNG)
    source = await net.source()
    assert isinstance(await source.fetch(f"{net.url}/a"), Image)
    assert await refusal(source, f"{net.url}/a") == (Reason.AVATAR_ADDRESS_REFUSED, "")


async def test_one_fetch_asks_for_a_name_once(net: Net) -> None:
    """DNS rebinding within a fetch: there is no second answer between the judgement and the connection."""
    net.resolver.answers = [[INTERNET], [INSIDE]]
    net.cdn.answers["/a"] = response(body=PNG)
    assert isinstance(await net.fetch(), Image)
    assert net.resolver.asked == [HOST]


@pytest.mark.parametrize("answer", [[INTERNET, INSIDE], [INSIDE, INTERNET], ["::ffff:127.0.0.1", INSIDE, INTERNET]])
async def test_of_several_addresses_only_permitted_ones_are_tried(net: Net, answer: list[str]) -> None:
    net.resolver.answers = [answer]
    net.cdn.answers["/a"] = response(body=PNG)
    assert isinstance(await net.fetch(), Image)


async def test_nothing_inside_is_tried_when_the_address_before_it_fails(net: Net) -> None:
    """A public address that refuses, a loopback one as the second choice: the happy-eyeballs way in."""
    net.resolver.answers = [["127.0.0.3", INSIDE, "::ffff:127.0.0.1"]]  # no server listens on 127.0.0.3
    reason, _ = await net.refusal(permitted=lambda address: str(address) == "127.0.0.3")
    assert reason in {Reason.AVATAR_ADDRESS_REFUSED, Reason.AVATAR_UNAVAILABLE}


async def test_no_proxy_of_the_environment_does_the_connecting(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would resolve the name by itself."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{INSIDE}:{net.cdn.port}")
    net.cdn.answers["/a"] = response(body=PNG)
    assert isinstance(await net.fetch(), Image)


async def test_a_host_that_is_not_listed_is_not_even_looked_up(net: Net) -> None:
    for address in (f"https://other.example:{net.cdn.port}/a", f"https://{HOST}/a", f"https://{INSIDE}/a"):
        assert await refusal(await net.source(), address) == (Reason.AVATAR_HOST_NOT_ALLOWED, "not an allowed host")
    async with AvatarSource(frozenset(), net.trust, resolver=net.resolver) as nothing_allowed:
        assert await refusal(nothing_allowed, f"{net.url}/a") == (Reason.AVATAR_HOST_NOT_ALLOWED, "not an allowed host")
    assert net.resolver.asked == []


async def test_the_host_may_be_written_in_any_of_its_forms(net: Net) -> None:
    """Which is not to say that the certificate may be another's."""
    net.cdn.answers["/a"] = response(body=PNG)
    source = await net.source()
    for host in ("CDN.Example", "cdn.example.", "ｃｄｎ.example"):  # the last one in full-width letters
        assert isinstance(await source.fetch(f"https://{host}:{net.cdn.port}/a"), Image)
    assert {request["host"] for request in net.cdn.requests} == {f"{HOST}:{net.cdn.port}"}
