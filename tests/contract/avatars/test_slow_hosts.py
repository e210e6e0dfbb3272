"""`AvatarSource` with hosts that answer, but slowly, or whose names do not resolve in time."""

import asyncio
import socket
import threading
from collections.abc import Sequence

import pytest

from function.avatars.fetch import Image
from function.avatars.host_limits import HOST_BACKOFF_SECONDS, HOST_IN_FLIGHT
from function.avatars.resolver import ThreadPerNameResolver
from function.outcomes import Reason
from tests.contract.servers.avatar_host import HOST, INTERNET, Net, drip, refusal, silence
from tests.contract.servers.cdn import Script, moved, response
from tests.support.images import PNG

pytestmark = pytest.mark.anyio

OTHER = "other.example"


def after(net: Net, seconds: float, answer: bytes) -> Script:
    """An answer that comes later by the source's clock, and at once in truth."""

    async def answered(writer: asyncio.StreamWriter) -> None:
        net.now += seconds
        writer.write(answer)
        await writer.drain()

    return answered


async def test_a_slow_host_is_left_alone_once_it_has_cost_20_seconds(net: Net) -> None:
    """Its images are used until then, also the last one."""
    net.cdn.answers |= {"/a": after(net, 4, response(body=PNG)), "/b": response(body=PNG)}
    source = await net.source(OTHER)
    for _ in range(12):  # each costs 3 s above the 1 s that it may take, of which 1.3 s are forgiven until the next
        assert isinstance(await source.fetch(f"{net.url}/a"), Image)
    assert await refusal(source, f"{net.url}/a") == (Reason.AVATAR_UNAVAILABLE, "slow a moment ago")
    assert isinstance(await source.fetch(f"https://{OTHER}:{net.cdn.port}/b"), Image)
    net.now += HOST_BACKOFF_SECONDS
    assert isinstance(await source.fetch(f"{net.url}/b"), Image)


async def test_the_time_of_a_redirect_is_that_of_the_host_that_took_it(net: Net) -> None:
    net.cdn.answers |= {
        "/a": moved(f"https://{OTHER}:{net.cdn.port}/b"),
        "/b": after(net, 15, response(body=PNG)),
        "/c": response(body=PNG),
    }
    source = await net.source(OTHER)
    for _ in range(2):
        assert isinstance(await source.fetch(f"{net.url}/a"), Image)
    assert await refusal(source, f"{net.url}/a") == (Reason.AVATAR_UNAVAILABLE, "slow a moment ago")
    assert isinstance(await source.fetch(f"{net.url}/c"), Image)


async def test_a_host_is_not_blamed_for_the_time_that_a_redirect_took_before_it(net: Net) -> None:
    """Its share of the limit is what is left."""

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.35)  # the slowness that is tested: a fetch's limit is the event loop's
        writer.write(moved(f"https://{OTHER}:{net.cdn.port}/b"))
        await writer.drain()

    net.cdn.answers |= {"/a": slowly, "/b": silence, "/c": response(body=PNG)}
    source = await net.source(OTHER, timeout=0.5)
    assert await refusal(source, f"{net.url}/a") == (Reason.AVATAR_UNAVAILABLE, "no image in time")
    assert isinstance(await source.fetch(f"https://{OTHER}:{net.cdn.port}/c"), Image)


@pytest.mark.parametrize("script", [drip, silence])
async def test_a_host_that_never_ends_an_image_holds_its_users_once(net: Net, script: Script) -> None:
    """All that wait are rejected when the first ones fail."""
    net.cdn.answers["/a"] = script
    source = await net.source(timeout=0.3)
    answers = await asyncio.gather(*(refusal(source, f"{net.url}/a") for _ in range(100)))
    assert {reason for reason, _ in answers} == {Reason.AVATAR_UNAVAILABLE}
    assert [detail for _, detail in answers].count("no image in time") == HOST_IN_FLIGHT
    assert len(net.cdn.requests) <= HOST_IN_FLIGHT


async def test_a_name_without_an_answer_from_dns_costs_its_time_once_and_holds_no_other_host(net: Net) -> None:
    release, asked = threading.Event(), list[str]()

    def lookup(host: str, _: socket.AddressFamily) -> Sequence[str]:
        asked.append(host)
        if host == OTHER:
            release.wait(10)
        return [INTERNET]

    net.cdn.answers["/a"] = response(body=PNG)
    source = await net.source(OTHER, resolver=ThreadPerNameResolver(lookup), timeout=2.0)
    silent = [asyncio.create_task(refusal(source, f"https://{OTHER}:{net.cdn.port}/a")) for _ in range(50)]
    await asyncio.gather(*(source.fetch(f"{net.url}/a") for _ in range(20)))
    assert not any(task.done() for task in silent)
    answers = await asyncio.gather(*silent)
    assert {reason for reason, _ in answers} == {Reason.AVATAR_UNAVAILABLE}
    assert asked.count(OTHER) == 1
    assert asked.count(HOST) <= 20
    release.set()
