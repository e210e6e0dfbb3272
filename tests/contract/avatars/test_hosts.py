"""`AvatarSource` with a host that is slow, broken, wrongly certified or down."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from anyio.lowlevel import checkpoint

from dev.processes import free_port
from function.avatars.fetch import AvatarSource, Image
from function.avatars.host_limits import HOST_BACKOFF_SECONDS, HOST_IN_FLIGHT, IN_FLIGHT
from function.outcomes import Reason, Rejected
from tests.contract.servers.avatar_host import HOST, INTERNET, Net, certified, drip, refusal, silence, trusting
from tests.contract.servers.cdn import moved, pour, response, serving
from tests.support.images import PNG

pytestmark = pytest.mark.anyio


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
    assert 1 < most <= HOST_IN_FLIGHT


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
