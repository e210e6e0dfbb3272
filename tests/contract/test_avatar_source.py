"""What `function.avatars.fetch.AvatarSource` does with a real https host that is broken, lies or attacks.

127.0.0.2 stands for the internet: the one address that may be connected to. 127.0.0.1 stands for everything inside.
"""

import asyncio
import gzip
import hashlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
import trustme
from anyio.lowlevel import checkpoint

from dev.processes import free_port
from function.avatars.fetch import (
    HOST_BACKOFF_SECONDS,
    IN_FLIGHT,
    MAX_BYTES,
    AvatarSource,
    Image,
    NotModified,
    Validators,
)
from function.avatars.ssrf_guard import is_global
from function.outcomes import Reason, Rejected
from tests.contract.servers.cdn import Cdn, ScriptedResolver, both, moved, pour, response, serving
from tests.support.images import GIF, HEIGHT, IMAGES, JPEG, PNG, WIDTH, png_header

pytestmark = pytest.mark.anyio

HOST = "cdn.example"
INTERNET, INSIDE = "127.0.0.2", "127.0.0.1"


def only_the_internet(address: IPv4Address | IPv6Address) -> bool:
    return str(address) == INTERNET


@dataclass
class Net:
    """The host of images, and sources that could reach it and the one inside."""

    cdn: Cdn
    trust: ssl.SSLContext
    stack: AsyncExitStack
    now: float = 0.0
    resolver: ScriptedResolver = field(default_factory=lambda: ScriptedResolver([INTERNET]))

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.cdn.port}"

    async def source(self, *allowed: str, **changes: Any) -> AvatarSource:
        known: dict[str, Any] = {
            "resolver": self.resolver,
            "permitted": only_the_internet,
            "clock": lambda: self.now,
            "timeout": 30.0,
        }
        entries = frozenset(f"{name}:{self.cdn.port}" for name in (HOST, *allowed))
        return await self.stack.enter_async_context(
            AvatarSource(entries, changes.pop("tls", self.trust), **(known | changes))
        )

    async def fetch(self, path: str = "/a", known: Validators | None = None, **changes: Any) -> Image | NotModified:
        return await (await self.source(**changes)).fetch(self.url + path, known)

    async def refusal(self, path: str = "/a", **changes: Any) -> tuple[Reason, str]:
        return await refusal(await self.source(**changes), self.url + path)


async def refusal(source: AvatarSource, address: str) -> tuple[Reason, str]:
    with pytest.raises(Rejected) as caught:
        await source.fetch(address)
    return caught.value.reason, caught.value.detail


@pytest.fixture(scope="session", params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The function runs on uvloop, which has sockets and TLS of its own."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


def certified(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """What a server of these names shows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.fixture
async def net(authority: trustme.CA) -> AsyncIterator[Net]:
    tls = certified(authority, HOST, "other.example", INSIDE)
    async with both(INTERNET, INSIDE, tls) as (cdn, inside), AsyncExitStack() as stack:
        yield Net(cdn, trusting(authority), stack)
        assert inside.connections == 0, "whatever a test did, no connection was made inside"


@pytest.mark.parametrize("name", IMAGES)
async def test_an_image_comes_with_its_type_and_size_and_with_how_to_ask_again(net: Net, name: str) -> None:
    """The four formats, as encoders write them."""
    content_type, content = IMAGES[name]
    modified = "Thu, 01 Jan 2026 09:30:00 GMT"
    net.cdn.answers["/a"] = response(body=content, ETag='"one"', Last_Modified=modified)
    known = Validators(hashlib.sha256(content).hexdigest(), '"one"', modified)
    assert await net.fetch() == Image(content, content_type, WIDTH, HEIGHT, known)


async def test_a_host_learns_nothing_but_the_address(net: Net) -> None:
    """No cookie that an earlier answer set, no address of the person, no version of ours; and nothing compressed is
    asked for."""
    net.cdn.answers["/a?size=2"] = response(body=PNG, Set_Cookie="seen=yes; Path=/")
    source = await net.source()
    for _ in range(2):
        await source.fetch(f"{net.url}/a?size=2#fragment")
    assert net.cdn.requests[0] == net.cdn.requests[1]
    assert net.cdn.requests[0] == {
        "path": "/a?size=2",
        "host": f"{HOST}:{net.cdn.port}",
        "accept": "image/png, image/jpeg, image/gif, image/webp",
        "accept-encoding": "identity",
        "user-agent": "matrix-account-sync",
        "connection": "close",
    }


@pytest.mark.parametrize("claimed", ["text/html", "image/jpeg", "application/octet-stream", ""])
async def test_the_type_is_that_of_the_content_whatever_the_header_says(net: Net, claimed: str) -> None:
    net.cdn.answers["/a"] = response(body=PNG, Content_Type=claimed)
    image = await net.fetch()
    assert isinstance(image, Image)
    assert image.content_type == "image/png"


@pytest.mark.parametrize("content", [b"", b"<html><script>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", PNG[:20]])
async def test_what_is_no_image_is_refused_whatever_the_header_says(net: Net, content: bytes) -> None:
    net.cdn.answers["/a"] = response(body=content, Content_Type="image/png")
    assert (await net.refusal())[0] is Reason.AVATAR_NOT_AN_IMAGE


async def test_an_image_with_too_many_pixels_is_refused_by_its_header(net: Net) -> None:
    """33 bytes that would become gigabytes in whatever decodes them."""
    net.cdn.answers["/a"] = response(body=png_header(60000, 60000))
    assert await net.refusal() == (Reason.AVATAR_TOO_LARGE, "60000 x 60000 pixels")


async def test_a_body_shorter_than_its_length_says_was_cut_off(net: Net) -> None:
    net.cdn.answers["/a"] = response(body=PNG, Content_Length=str(len(PNG) + 1))
    assert await net.refusal() == (Reason.AVATAR_UNAVAILABLE, "ClientPayloadError")


async def test_what_follows_a_body_is_no_part_of_an_image(net: Net) -> None:
    """A length that is too small makes no image of the first half."""
    net.cdn.answers["/a"] = response(body=PNG + b"more", Content_Length=str(len(PNG)))
    assert await net.refusal() == (Reason.AVATAR_UNAVAILABLE, "ClientResponseError")


@pytest.mark.parametrize(
    "answer",
    [
        response(Transfer_Encoding="chunked") + f"{len(GIF):x}\r\n".encode() + GIF + b"\r\n0\r\n\r\n",
        response(body=GIF, Content_Length=""),
    ],
    ids=["chunked", "until the end"],
)
async def test_a_body_needs_no_length(net: Net, answer: bytes) -> None:
    net.cdn.answers["/a"] = answer
    image = await net.fetch()
    assert isinstance(image, Image)
    assert image.content == GIF


async def test_a_length_over_the_bound_is_refused_before_the_body_comes(net: Net) -> None:
    """The host never sends one."""

    async def announce(writer: asyncio.StreamWriter) -> None:
        writer.write(response(Content_Length=str(MAX_BYTES + 1)))
        await asyncio.Event().wait()

    net.cdn.answers["/a"] = announce
    assert (await net.refusal())[0] is Reason.AVATAR_TOO_LARGE


@pytest.mark.parametrize("size", [MAX_BYTES, MAX_BYTES + 1])
async def test_the_bound_is_exact(net: Net, size: int) -> None:
    net.cdn.answers["/a"] = response(body=GIF.ljust(size, b"\0"), Content_Length="")
    if size <= MAX_BYTES:
        assert isinstance(await net.fetch(), Image)
    else:
        assert (await net.refusal())[0] is Reason.AVATAR_TOO_LARGE


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_endless_body_is_read_to_the_bound_and_no_further(net: Net, *, chunked: bool) -> None:
    """What the host could send beyond it is what fits into the buffers between the two."""
    sent = asyncio.get_running_loop().create_future()

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(response(Transfer_Encoding="chunked") if chunked else response(Content_Length=""))
        sent.set_result(await pour(writer, b"10000\r\n" + bytes(0x10000) + b"\r\n" if chunked else bytes(0x10000)))

    net.cdn.answers["/a"] = endless
    assert (await net.refusal())[0] is Reason.AVATAR_TOO_LARGE
    assert await sent < 4 * MAX_BYTES


async def drip(writer: asyncio.StreamWriter) -> None:
    """Never silent, never done."""
    writer.write(response(Content_Length="1000000"))
    await pour(writer, b"\0")


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def endless_header(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 Said\r\n")
    await pour(writer, b"X-More: of it\r\n")


async def endless_interim(writer: asyncio.StreamWriter) -> None:
    await pour(writer, b"HTTP/1.1 103 Soon\r\n\r\n")


@pytest.mark.parametrize("script", [drip, silence, endless_interim])
async def test_a_fetch_has_one_time_limit_for_everything(net: Net, script: Callable[..., Any]) -> None:
    """In all: a byte now and then buys none."""
    net.cdn.answers["/a"] = script
    begun = time.monotonic()
    assert await net.refusal(timeout=0.2) == (Reason.AVATAR_UNAVAILABLE, "no image in time")
    assert time.monotonic() - begun < 2


async def test_redirects_share_the_time(net: Net) -> None:
    net.cdn.answers |= {"/a": moved("/b"), "/b": drip}
    assert await net.refusal(timeout=0.2) == (Reason.AVATAR_UNAVAILABLE, "no image in time")


async def test_a_caller_that_gives_up_is_not_told_of_the_host(net: Net) -> None:
    """The caller's own deadline ends the fetch as it ends everything else."""
    net.cdn.answers["/a"] = silence
    source = await net.source()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await source.fetch(f"{net.url}/a")
    net.cdn.answers["/a"] = response(body=PNG)
    assert isinstance(await source.fetch(f"{net.url}/a"), Image)


@pytest.mark.parametrize("coding", ["gzip", "deflate, gzip", "br", "unheard-of"])
async def test_a_compressed_body_is_refused_and_not_unpacked(net: Net, coding: str) -> None:
    net.cdn.answers["/a"] = response(body=gzip.compress(PNG), Content_Encoding=coding)
    assert await net.refusal() == (Reason.AVATAR_NOT_AN_IMAGE, "has a Content-Encoding")


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


async def test_a_certificate_of_another_authority_is_refused(net: Net) -> None:
    tls = trusting(trustme.CA())
    assert await net.refusal(tls=tls) == (Reason.AVATAR_UNAVAILABLE, "ClientConnectorCertificateError")
    assert net.cdn.requests == []


async def test_a_certificate_for_another_name_is_refused(net: Net, authority: trustme.CA) -> None:
    """Also one for the address: it is the name that has to be proven."""
    tls = certified(authority, "another.example", INTERNET)
    async with serving(INTERNET, tls=tls) as impostor:
        net.cdn.port = impostor.port
        assert await net.refusal() == (Reason.AVATAR_UNAVAILABLE, "ClientConnectorCertificateError")
    assert impostor.requests == []


async def test_a_context_that_does_not_verify_is_refused_at_the_start(net: Net) -> None:
    careless = ssl.create_default_context()
    careless.check_hostname = False
    with pytest.raises(ValueError, match="must verify"):
        await net.source(tls=careless)


async def test_a_host_that_speaks_no_tls_has_no_image(net: Net) -> None:
    async with serving(INTERNET) as plain:
        net.cdn.port = plain.port
        assert (await net.refusal(timeout=0.2))[0] is Reason.AVATAR_UNAVAILABLE


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x16\x03\x01 not HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 Said\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 Said\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
        b"HTTP/1.1 200 Said\r\nX: " + bytes(100_000) + b"\r\n\r\n",
        response(Transfer_Encoding="chunked") + b"zz\r\n",
        endless_header,
    ],
)
async def test_a_host_that_talks_nonsense_has_no_image(net: Net, answer: Any) -> None:
    net.cdn.answers["/a"] = answer
    assert (await net.refusal())[0] is Reason.AVATAR_UNAVAILABLE


@pytest.mark.parametrize("status", [204, 206, 300, 304, 400, 401, 403, 404, 410, 451])
async def test_an_answer_without_the_image_is_not_found(net: Net, status: int) -> None:
    """Also a 304 to a request without conditions."""
    net.cdn.answers["/a"] = response(status)
    assert await net.refusal() == (Reason.AVATAR_NOT_FOUND, str(status))


async def test_an_unchanged_image_is_not_sent_again(net: Net) -> None:
    """The host says so; it may give new validators, and those it does not give stay."""
    known = Validators("0" * 64, '"one"', "Thu, 01 Jan 2026 09:30:00 GMT")
    net.cdn.answers["/a"] = response(304, ETag='"two"')
    assert await net.fetch(known=known) == NotModified(Validators("0" * 64, '"two"', known.last_modified))
    assert net.cdn.requests[0]["if-none-match"] == '"one"'
    assert net.cdn.requests[0]["if-modified-since"] == known.last_modified


async def test_not_modified_is_no_answer_to_a_request_without_conditions(net: Net) -> None:
    """Neither at first nor after a redirect: there the host speaks of an image that we never had from it."""
    net.cdn.answers |= {"/a": response(304), "/b": moved("/a")}
    source = await net.source()
    for path, known in (("/a", Validators("0" * 64)), ("/b", Validators("0" * 64, '"one"'))):
        with pytest.raises(Rejected) as caught:
            await source.fetch(net.url + path, known)
        assert caught.value.reason is Reason.AVATAR_NOT_FOUND


async def test_a_changed_image_at_the_same_address_is_noticed(net: Net) -> None:
    net.cdn.answers["/a"] = response(body=PNG, ETag='"one"')
    first = await net.fetch()
    net.cdn.answers["/a"] = response(body=GIF, ETag='"two"')
    second = await net.fetch(known=first.known)
    assert isinstance(second, Image)
    assert (second.content, second.known.etag) == (GIF, '"two"')
    assert second.known.sha256 != first.known.sha256


async def test_the_same_bytes_are_the_same_image_whatever_the_validators_say(net: Net) -> None:
    """A host without validators, or with new ones after each deployment."""
    net.cdn.answers["/a"] = response(body=PNG)
    first = await net.fetch()
    assert first.known == Validators(hashlib.sha256(PNG).hexdigest())
    net.cdn.answers["/a"] = response(body=PNG, ETag='"two"')
    assert await net.fetch(known=first.known) == NotModified(Validators(first.known.sha256, '"two"'))
    assert "if-none-match" not in net.cdn.requests[1]


async def test_a_redirect_to_an_older_image_is_a_change(net: Net) -> None:
    """An address that leads to whatever image the person chose. Had the validators of the last one been sent, the other
    would be "not modified since"."""
    net.cdn.answers |= {"/a": moved("/b"), "/b": response(body=PNG, ETag='"one"'), "/c": response(body=GIF)}
    first = await net.fetch()
    assert first.known == Validators(hashlib.sha256(PNG).hexdigest())
    net.cdn.answers["/a"] = moved("/c")
    direct = Validators(first.known.sha256, '"one"', "Thu, 01 Jan 2026 09:30:00 GMT")
    second = await net.fetch(known=direct)
    assert isinstance(second, Image)
    assert net.cdn.requests[-1].keys().isdisjoint({"if-none-match", "if-modified-since"})


@pytest.mark.parametrize("etag", ['"' + "x" * 300 + '"', '"\u00fc"'])
async def test_a_validator_that_could_not_be_kept_is_forgotten(net: Net, etag: str) -> None:
    """The record of a user is no place for a host's 8 KiB."""
    net.cdn.answers["/a"] = response(body=PNG, ETag=etag)
    assert (await net.fetch()).known.etag == ""


async def test_a_dead_host_is_left_alone_for_a_while(net: Net) -> None:
    """It costs its time once, not once an event; then it gets another chance."""
    net.cdn.port = free_port()
    source = await net.source()
    address = f"{net.url}/a"
    assert await refusal(source, address) == (Reason.AVATAR_UNAVAILABLE, "ClientConnectorError")
    assert await refusal(source, address) == (Reason.AVATAR_UNAVAILABLE, "failed a moment ago")
    net.now = HOST_BACKOFF_SECONDS - 0.1
    assert await refusal(source, address) == (Reason.AVATAR_UNAVAILABLE, "failed a moment ago")
    assert net.resolver.asked == [HOST]
    net.now = HOST_BACKOFF_SECONDS
    assert await refusal(source, address) == (Reason.AVATAR_UNAVAILABLE, "ClientConnectorError")


async def test_a_name_that_does_not_resolve_is_a_dead_host(net: Net, authority: trustme.CA) -> None:
    """`.invalid` never resolves; asked of the system's own resolver."""
    async with AvatarSource(frozenset({"cdn.invalid"}), net.trust) as source:
        assert (await refusal(source, "https://cdn.invalid/a"))[0] is Reason.AVATAR_UNAVAILABLE
        assert await refusal(source, "https://cdn.invalid/b") == (Reason.AVATAR_UNAVAILABLE, "failed a moment ago")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_host_that_answers_with_a_server_error_is_left_alone(net: Net, status: int) -> None:
    net.cdn.answers |= {"/a": response(status), "/b": response(body=PNG)}
    source = await net.source()
    assert await refusal(source, f"{net.url}/a") == (Reason.AVATAR_UNAVAILABLE, str(status))
    assert await refusal(source, f"{net.url}/b") == (Reason.AVATAR_UNAVAILABLE, "failed a moment ago")
    net.now = HOST_BACKOFF_SECONDS
    assert isinstance(await source.fetch(f"{net.url}/b"), Image)


@pytest.mark.parametrize("answer", [response(500), response(body=PNG, Content_Length="500"), response(404)])
async def test_one_image_that_fails_takes_no_other_with_it(net: Net, answer: bytes) -> None:
    """Nothing but that image is known to be broken."""
    net.cdn.answers |= {"/a": answer, "/b": response(body=PNG)}
    source = await net.source()
    await refusal(source, f"{net.url}/a")
    assert isinstance(await source.fetch(f"{net.url}/b"), Image)


async def test_a_pause_is_that_of_the_host_that_failed(net: Net) -> None:
    """Neither the redirecting host nor any other is paused."""
    net.cdn.answers |= {
        "/a": moved(f"https://other.example:{net.cdn.port}/a2"),
        "/a2": response(503),
        "/b": response(body=PNG),
    }
    source = await net.source("other.example")
    assert await refusal(source, f"{net.url}/a") == (Reason.AVATAR_UNAVAILABLE, "503")
    assert await refusal(source, f"{net.url}/a") == (Reason.AVATAR_UNAVAILABLE, "failed a moment ago")
    assert isinstance(await source.fetch(f"{net.url}/b"), Image)


async def test_the_number_of_images_in_memory_is_limited(net: Net) -> None:
    """A batch may hold a hundred."""
    now = most = 0

    async def count(writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(20):
            await checkpoint()
        writer.write(response(body=PNG))
        await writer.drain()
        now -= 1

    net.cdn.answers["/a"] = count
    source = await net.source()
    await asyncio.gather(*(source.fetch(f"{net.url}/a") for _ in range(3 * IN_FLIGHT)))
    assert 1 < most <= IN_FLIGHT


SECRET = "someperson"


@pytest.mark.parametrize(
    "answer",
    [
        response(404, body=b"no someperson here", ETag=SECRET),
        response(503),
        response(body=b"someperson"),
        response(body=PNG, Content_Length="900"),
        moved("https://someperson.example/someperson"),
        moved("https://someperson:someperson@cdn.example/someperson"),
        moved("https://cdn.example:someperson/"),
        b"HTTP/1.1 200 someperson\r\nsomeperson\r\n\r\n",
        drip,
    ],
)
async def test_no_error_and_no_log_line_says_who_or_where(
    net: Net, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The address of an avatar names its person."""
    caplog.set_level(logging.DEBUG)
    net.cdn.answers[f"/{SECRET}?of={SECRET}"] = answer
    source = await net.source(timeout=0.2)
    for address in (f"{net.url}/{SECRET}?of={SECRET}", f"https://{SECRET}@{HOST}/", f"https://{HOST}:{SECRET}/"):
        with pytest.raises(Rejected) as caught:
            await source.fetch(address)
        assert SECRET not in f"{caught.value!r}{caught.value}{caught.value.detail}"
        assert HOST not in f"{caught.value!r}"
    assert SECRET not in caplog.text
