"""Dead letters go out concurrently, within a limit of their own; what was done stays done, and a letter goes out once."""

import asyncio

import pytest

from function.kafka.record import KafkaRecord
from function.outcomes import Outcome, Reason, Rejected, TryAgain
from function.processing.letters import AT_A_TIME
from tests.support.events import ALICE, BOB, deletion, delivered, profile
from tests.support.fake_dapr import FakeDeadLetters
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio


class ChoosyTopic(FakeDeadLetters):
    """Takes a letter only if `takes` says so, and counts how many come at once."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[Reason] = set()
        self.tries = self.now = self.most = 0

    async def publish(self, record: KafkaRecord, rejected: Rejected, event_id: str) -> None:
        self.tries += 1
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(3):
            await asyncio.sleep(0)
        self.now -= 1
        if rejected.reason in self.refused:
            raise TryAgain(Reason.PUBLISH_FAILED, "refused")
        await super().publish(record, rejected, event_id)


def choosy(w: Harness) -> ChoosyTopic:
    w.letters = ChoosyTopic()
    w.restart()
    return w.letters


async def test_letters_are_published_beside_each_other() -> None:
    async with world() as w:
        topic = choosy(w)
        assert await w.process(*(delivered(b"broken") for _ in range(30))) == [Outcome.DEAD_LETTER] * 30
        assert (topic.tries, topic.most) == (30, AT_A_TIME)


async def test_after_a_failure_no_other_letter_is_tried_and_what_was_done_stays_done() -> None:
    """The topic may be missing: each try takes seconds."""
    async with world(ALICE) as w:
        topic = choosy(w)
        topic.refused = {Reason.NOT_JSON}
        outcomes = await w.process(deletion(), *(delivered(b"broken") for _ in range(30)))
        assert outcomes == [Outcome.APPLIED] + [Outcome.RETRY] * 30
        assert topic.tries <= AT_A_TIME
        w.homeserver.requests.clear()
        assert await w.process(deletion()) == [Outcome.UNCHANGED]
        assert w.homeserver.calls() == []


async def test_a_letter_is_published_once_while_an_earlier_one_of_its_user_can_not_be() -> None:
    """The later one waits with it: what is published out of order comes again, and would be published again."""
    async with world(ALICE, BOB) as w:
        topic = choosy(w)
        w.homeserver.refused_names.add("Rude")
        topic.refused = {Reason.AVATAR_INVALID}
        batch = [
            profile(BOB, 1, display_name="Rude"),
            profile(ALICE, 2, avatar_url="http://x"),
            profile(ALICE, 3, display_name="Rude"),
        ]
        bad_avatar = profile(ALICE, 2, avatar_url="http://x")
        for _ in range(3):
            await w.process(bad_avatar, deletion(BOB, soft=True))
        assert topic.reasons == []
        topic.refused = set()
        outcomes = await w.process(*batch)
        assert outcomes == [Outcome.STALE, Outcome.STALE, Outcome.DEAD_LETTER]
        assert topic.reasons == [Reason.SYNAPSE_REFUSED]


async def test_an_event_that_waits_for_an_earlier_one_of_its_user_publishes_no_letter() -> None:
    """Its letter would be published at each delivery."""
    async with world(ALICE) as w:
        topic = choosy(w)
        w.state.sparing, w.state.losing = 0, 1
        assert await w.process(profile(second=1, avatar_url="http://x")) == [Outcome.RETRY]
        assert topic.tries == 0
