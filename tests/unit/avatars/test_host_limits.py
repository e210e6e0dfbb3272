"""When image hosts may be asked, and how long a slow one can hold the rest; in virtual time."""

import asyncio
from dataclasses import dataclass, field

import pytest

from function.avatars.host_limits import (
    HOST_BACKOFF_SECONDS,
    HOST_IN_FLIGHT,
    IN_FLIGHT,
    HostLimits,
)
from function.avatars.image_url import Origin
from function.outcomes import Reason, Rejected
from tests.support.virtual_time import run

HOST, OTHER = ("cdn.example", 443), ("other.example", 443)
IMAGE = "image"


@dataclass
class Hosts:
    """Image hosts that take a given time for each image; keeps what became of each request, and when."""

    limits: HostLimits = field(default_factory=lambda: HostLimits(now))
    running: dict[Origin, int] = field(default_factory=dict)
    most: dict[Origin, int] = field(default_factory=dict)
    most_in_all: int = 0

    async def ask(self, seconds: float, origin: Origin = HOST, *, fails: bool = False) -> tuple[str, float]:
        """Returns the detail of a rejection, or IMAGE, and the seconds from the request to its end."""
        begun = now()
        try:
            async with self.limits.slot(origin):
                self._count(origin, 1)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    self._count(origin, -1)
                if fails:
                    raise self.limits.fail(origin, "503")
        except Rejected as rejected:
            return rejected.detail, now() - begun
        return IMAGE, now() - begun

    async def ask_all(self, *seconds: float, origin: Origin = HOST) -> list[tuple[str, float]]:
        return await asyncio.gather(*(self.ask(each, origin) for each in seconds))

    def _count(self, origin: Origin, step: int) -> None:
        self.running[origin] = self.running.get(origin, 0) + step
        self.most[origin] = max(self.most.get(origin, 0), self.running[origin])
        self.most_in_all = max(self.most_in_all, sum(self.running.values()))


def now() -> float:
    return asyncio.get_running_loop().time()


def details(answers: list[tuple[str, float]]) -> dict[str, int]:
    found = [detail for detail, _ in answers]
    return {detail: found.count(detail) for detail in found}


def test_a_host_of_4_seconds_an_image_holds_600_users_for_4_seconds() -> None:
    async def main() -> None:
        answers = await Hosts().ask_all(*[4.0] * 600)
        assert details(answers) == {IMAGE: HOST_IN_FLIGHT, "slow a moment ago": 600 - HOST_IN_FLIGHT}
        assert now() == pytest.approx(4)

    run(main())


def test_what_is_in_flight_counts_before_more_is_begun() -> None:
    """Images that do not end at the same moment; and a user who comes when they have taken too long together."""

    async def main() -> None:
        hosts = Hosts()
        early = asyncio.create_task(hosts.ask_all(*(4 + number / 100 for number in range(600))))
        await asyncio.sleep(3.6)
        assert await hosts.ask(4.0) == ("slow a moment ago", 0.0)
        assert details(await early) == {IMAGE: HOST_IN_FLIGHT, "slow a moment ago": 600 - HOST_IN_FLIGHT}
        assert now() < 4.1

    run(main())


def test_it_holds_no_user_of_another_host() -> None:
    async def main() -> None:
        hosts = Hosts()
        slow = asyncio.create_task(hosts.ask_all(*[4.0] * 600))
        await asyncio.sleep(0)
        answers = await hosts.ask_all(*[0.2] * 80, origin=OTHER)
        assert details(answers) == {IMAGE: 80}
        assert now() == pytest.approx(0.2 * 80 / HOST_IN_FLIGHT)
        await slow

    run(main())


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.9, 1.0])
def test_a_healthy_host_is_never_refused_a_request_however_many_wait(seconds: float) -> None:
    async def main() -> None:
        assert details(await Hosts().ask_all(*[seconds] * 5000)) == {IMAGE: 5000}
        assert now() == pytest.approx(5000 / HOST_IN_FLIGHT * seconds)

    run(main())


def test_a_healthy_host_may_be_slow_for_one_image_in_twenty() -> None:
    """A cache that has to fetch the image first: 100 slow ones within two minutes."""

    async def main() -> None:
        seconds = [3.0 if number % 20 == 0 else 0.2 for number in range(2000)]
        assert details(await Hosts().ask_all(*seconds)) == {IMAGE: 2000}

    run(main())


def test_a_slow_image_now_and_then_is_no_slow_host() -> None:
    """One in ten seconds, for an hour: 20 s a minute are forgiven."""

    async def main() -> None:
        hosts = Hosts()
        for _ in range(360):
            assert await hosts.ask(4.0) == (IMAGE, 4.0)
            await asyncio.sleep(6)

    run(main())


def test_speed_is_not_saved_up() -> None:
    """Yesterday's thousand fast images buy a host no minute of slow ones."""

    async def main() -> None:
        hosts = Hosts()
        await hosts.ask_all(*[0.1] * 1000)
        assert details(await hosts.ask_all(*[4.0] * 20)) == {IMAGE: 8, "slow a moment ago": 12}

    run(main())


@pytest.mark.parametrize("seconds", [1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 4.9])
def test_whatever_its_slowness_a_slow_host_holds_no_one_for_long(seconds: float) -> None:
    """A user has 30 s."""

    async def main() -> None:
        answers = await Hosts().ask_all(*[seconds] * 1000)
        assert max(took for _, took in answers) <= 10 + 2 * seconds
        assert all(detail == IMAGE or detail.startswith("slow") for detail, _ in answers)

    run(main())


@pytest.mark.parametrize("seconds", [1.5, 2.0, 4.0])
def test_any_number_of_slow_hosts_leave_half_of_the_requests_to_others(seconds: float) -> None:
    """Twenty of them, each with more requests than it can take. Only at first, when none is known, they hold all."""

    async def flood(hosts: Hosts, origin: Origin) -> None:
        while True:
            await hosts.ask_all(*[seconds] * 20, origin=origin)
            await asyncio.sleep(2)

    async def main() -> None:
        hosts = Hosts()
        floods = [asyncio.create_task(flood(hosts, (f"{n}.example", 443))) for n in range(20)]
        took = []
        for _ in range(10):
            await asyncio.sleep(1)
            begun = now()
            assert details(await hosts.ask_all(*[0.2] * 100)) == {IMAGE: 100}
            took.append(now() - begun)
        assert took[0] < 20
        assert max(took[1:]) == pytest.approx(0.2 * 104 / HOST_IN_FLIGHT)
        for task in floods:
            task.cancel()

    run(main())


def test_hosts_take_turns_even_when_none_is_known() -> None:
    """One image of one host, and 160 requests of twenty slow ones before it."""

    async def main() -> None:
        hosts = Hosts()
        floods = [asyncio.create_task(hosts.ask_all(*[4.0] * 20, origin=(f"{n}.example", 443))) for n in range(20)]
        await asyncio.sleep(1)
        detail, took = await hosts.ask(0.2)
        assert detail == IMAGE
        assert took < 8
        assert hosts.most_in_all == IN_FLIGHT
        for task in floods:
            task.cancel()

    run(main())


def test_a_pause_settles_what_was_slow_before_it() -> None:
    """A host that works again is not paused again for what it was paused for."""

    async def main() -> None:
        hosts = Hosts()
        await hosts.ask_all(*[4.0] * HOST_IN_FLIGHT)
        await asyncio.sleep(HOST_BACKOFF_SECONDS)
        assert (await hosts.ask(0.2))[0] == IMAGE
        assert details(await hosts.ask_all(*[3.0] * HOST_IN_FLIGHT)) == {IMAGE: HOST_IN_FLIGHT}
        assert (await hosts.ask(0.2))[0] == IMAGE

    run(main())


def test_callers_that_give_up_soon_weigh_nothing_against_slow_images() -> None:
    async def main() -> None:
        hosts = Hosts()
        for _ in range(2):
            await hosts.ask_all(*[3.0] * 4)
            for _ in range(20):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await hosts.ask(3.0)
        await hosts.ask_all(*[3.0] * 4)
        assert await hosts.ask(0.1) == ("slow a moment ago", 0.0)

    run(main())


def test_a_rejection_is_the_avatars_and_says_that_the_host_is_to_blame() -> None:
    async def main() -> None:
        limits = HostLimits(now)
        assert limits.fail(HOST, "503").detail == "503"
        with pytest.raises(Rejected) as caught:
            async with limits.slot(HOST):
                pass
        assert (caught.value.reason, caught.value.detail) == (Reason.AVATAR_UNAVAILABLE, "failed a moment ago")

    run(main())


def test_a_host_in_doubt_gets_one_request_after_the_pause_and_all_once_it_works() -> None:
    async def main() -> None:
        hosts = Hosts()
        assert (await hosts.ask(0.1, fails=True))[0] == "503"
        assert await hosts.ask(0.1) == ("failed a moment ago", 0.0)
        await asyncio.sleep(HOST_BACKOFF_SECONDS)
        begun = now()
        assert details(await hosts.ask_all(1.5, *[0.2] * 80)) == {IMAGE: 81}
        assert now() - begun == pytest.approx(1.5 + 0.2 * 80 / HOST_IN_FLIGHT)
        assert hosts.most[HOST] == HOST_IN_FLIGHT

    run(main())


def test_a_host_that_is_still_slow_after_the_pause_costs_one_request() -> None:
    async def main() -> None:
        hosts = Hosts()
        await hosts.ask_all(*[4.0] * 100)
        hosts.most.clear()
        await asyncio.sleep(HOST_BACKOFF_SECONDS)
        assert details(await hosts.ask_all(*[4.0] * 100)) == {IMAGE: 1, "slow a moment ago": 99}
        assert hosts.most[HOST] == 1
        assert now() == pytest.approx(4 + HOST_BACKOFF_SECONDS + 4)

    run(main())


def test_a_caller_that_gives_up_says_nothing_in_favor_of_a_host_and_frees_its_place() -> None:
    """The next request is the trial then."""

    async def main() -> None:
        hosts = Hosts()
        await hosts.ask(0.1, fails=True)
        await asyncio.sleep(HOST_BACKOFF_SECONDS)
        trial = asyncio.create_task(hosts.ask(4.0))
        await asyncio.sleep(0.5)
        waiting = [asyncio.create_task(hosts.ask(4.0)) for _ in range(30)]
        await asyncio.sleep(0.5)
        trial.cancel()
        waiting[0].cancel()
        answers = await asyncio.gather(*waiting[1:])
        assert details(answers) == {IMAGE: 1, "slow a moment ago": 28}
        assert hosts.most[HOST] == 1

    run(main())


def test_the_time_of_a_caller_that_gave_up_counts() -> None:
    """Else a host that is slower than all its callers' limits would never be found out."""

    async def main() -> None:
        hosts = Hosts()
        tasks = [asyncio.create_task(hosts.ask(5.0)) for _ in range(HOST_IN_FLIGHT)]
        await asyncio.sleep(4)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert await hosts.ask(0.1) == ("slow a moment ago", 0.0)

    run(main())


def test_a_request_that_began_before_the_pause_does_not_end_it() -> None:
    async def main() -> None:
        hosts = Hosts()
        answers = await asyncio.gather(hosts.ask(0.3), hosts.ask(0.1, fails=True), hosts.ask(0.2))
        assert [detail for detail, _ in answers] == [IMAGE, "503", IMAGE]
        assert await hosts.ask(0.1) == ("failed a moment ago", 0.0)

    run(main())


def test_requests_in_flight_are_limited_for_each_host_and_for_all() -> None:
    async def main() -> None:
        hosts = Hosts()
        origins: list[Origin] = [(f"{n}.example", 443) for n in range(3)]
        await asyncio.gather(*(hosts.ask_all(*[0.2] * 50, origin=origin) for origin in origins))
        assert max(hosts.most.values()) == HOST_IN_FLIGHT
        assert hosts.most_in_all == IN_FLIGHT

    run(main())
