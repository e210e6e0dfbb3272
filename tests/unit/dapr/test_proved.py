"""What the function says at its start of the version of daprd."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import pytest

from function.dapr.proved import PINNED, PROVED
from function.dapr.sidecar import Loaded, report_version
from function.outcomes import Reason, TryAgain
from tests.support.fake_check import FakeSidecar, all_loaded

pytestmark = pytest.mark.anyio


def gone() -> NoReturn:
    raise TryAgain(Reason.STARTING, "metadata: UNAVAILABLE")


def loaded_by(version: str) -> Callable[[], Loaded]:
    return lambda: replace(all_loaded(), version=version)


async def said(caplog: pytest.LogCaptureFixture, answer: Callable[[], Loaded | None]) -> list[tuple[str, str]]:
    sidecar = FakeSidecar()
    sidecar.answer = answer
    with caplog.at_level(logging.INFO, "function"):
        await report_version(sidecar)
    fields = [vars(record)["fields"] for record in caplog.records]
    return [(line["version"], line["detail"]) for line in fields]


@pytest.mark.parametrize("version", PROVED)
async def test_nothing_is_said_of_a_daprd_on_which_the_tests_ran(
    version: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await said(caplog, loaded_by(version)) == []


@pytest.mark.parametrize("version", ["1.99.0", "edge", f"{PINNED}-rc.1"])
async def test_another_daprd_is_named_with_the_one_to_use(version: str, caplog: pytest.LogCaptureFixture) -> None:
    ((named, advice),) = await said(caplog, loaded_by(version))
    assert named == version
    assert f"Use daprd {PINNED}" in advice


async def test_a_daprd_that_may_not_tell_is_called_unknown(caplog: pytest.LogCaptureFixture) -> None:
    assert [version for version, _ in await said(caplog, lambda: None)] == ["unknown"]


async def test_a_daprd_that_has_just_gone_is_asked_again_at_the_next_start(caplog: pytest.LogCaptureFixture) -> None:
    assert await said(caplog, gone) == []
