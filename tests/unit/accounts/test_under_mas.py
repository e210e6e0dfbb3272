"""What events become where Matrix Authentication Service (MAS) owns the accounts: each case on both sides."""

from datetime import timedelta

import pytest

from function.accounts.recheck_loop import Checked
from function.accounts.traces import Part
from function.homeserver.delegated import LOOKS
from function.outcomes import Outcome, Reason
from tests.support.events import ALICE, BOB, EPOCH, created, deletion, password, profile
from tests.support.mas_world import MasHarness, mas_world

pytestmark = pytest.mark.anyio

NAME = f"nova-{ALICE}"


async def mas_side(w: MasHarness, user: str = NAME) -> str:
    found = await w.at_mas.user(user)
    return "absent" if found is None else "deactivated" if found["deactivated_at"] else "active"


@pytest.mark.parametrize("soft", [True, False])
async def test_a_deletion_ends_both_sides(soft: bool) -> None:
    async with mas_world(ALICE) as w:
        assert await w.process(deletion(soft=soft)) == [Outcome.APPLIED]
        assert await mas_side(w) == "deactivated"
        assert (w.account()["deactivated"], w.account()["erased"]) == (True, not soft)
        assert await w.at_mas.log_in(ALICE) == 403


async def test_a_deletion_costs_two_calls_on_mas_and_one_look_at_synapse() -> None:
    async with mas_world(ALICE) as w:
        await w.process(deletion())
        assert await w.at_mas.writes() == [f"users/{await w.at_mas.id_of(ALICE)}/deactivate"]
        assert w.homeserver.calls("POST") == []  # MAS has told Synapse


async def test_an_erasure_after_a_soft_deletion_erases() -> None:
    async with mas_world(ALICE) as w:
        await w.process(deletion(second=1))
        assert await w.process(deletion(second=2, soft=False)) == [Outcome.APPLIED]
        assert w.account()["erased"] is True
        assert w.account()["displayname"] is None


@pytest.mark.parametrize("trouble", [{"held": True}, {"failing": True}])
async def test_a_job_of_mas_that_is_late_or_fails_for_good_holds_up_no_deletion(trouble: dict[str, bool]) -> None:
    """Synapse is then asked by its own call, and MAS's job finds it done."""
    async with mas_world(ALICE) as w:
        await w.at_mas.control("PUT", "jobs", trouble)
        assert await w.process(deletion(soft=False)) == [Outcome.APPLIED]
        assert (w.account()["deactivated"], w.account()["erased"]) == (True, True)
        assert await mas_side(w) == "deactivated"
        looks = [call for call in w.homeserver.calls("GET") if call[1].endswith(w.homeserver.mxid(ALICE))]
        assert len(looks) == 1 + len(LOOKS)


async def test_what_an_erased_user_leaves_behind_is_removed_from_synapse() -> None:
    """Messages and files are Synapse's wherever the accounts are."""
    async with mas_world(ALICE) as w:
        w.removes = frozenset(Part)
        w.restart()
        w.homeserver.say(w.homeserver.mxid(ALICE), 3)
        w.homeserver.add_upload(w.homeserver.mxid(ALICE), "file")
        assert await w.process(deletion(soft=False)) == [Outcome.APPLIED]
        assert await w.processor.recheck(ALICE) is Checked.RUNNING
        assert await w.processor.recheck(ALICE) is Checked.SETTLED
        assert (w.homeserver.readable(w.homeserver.mxid(ALICE)), w.homeserver.media) == (0, {})
        assert await mas_side(w) == "deactivated"


@pytest.mark.parametrize("trouble", [{"held": True}, {"failing": True}])
async def test_logins_since_synapse_alone_was_told_end_although_the_job_does_not_come(trouble: dict[str, bool]) -> None:
    """Synapse says deactivated from the start, which is no sign that MAS's job has been there."""
    async with mas_world(ALICE) as w:
        w.account()["deactivated"] = True
        await w.at_mas.session(ALICE)
        assert w.homeserver.devices[w.homeserver.mxid(ALICE)]
        await w.at_mas.control("PUT", "jobs", trouble)
        assert await w.process(deletion()) == [Outcome.APPLIED]
        assert w.homeserver.mxid(ALICE) not in w.homeserver.devices


async def test_an_account_that_only_synapse_has_is_ended_there() -> None:
    """As before MAS: no one can log in to it at MAS."""
    async with mas_world() as w:
        w.login(ALICE)
        assert await w.process(deletion()) == [Outcome.APPLIED]
        assert w.account()["deactivated"] is True
        assert await mas_side(w) == "absent"


async def test_a_user_of_whom_synapse_knows_nothing_is_ended_in_mas() -> None:
    async with mas_world(ALICE) as w:
        del w.homeserver.accounts[w.homeserver.mxid(ALICE)]
        assert await w.process(deletion()) == [Outcome.APPLIED]
        assert await mas_side(w) == "deactivated"


async def test_a_deletion_of_nobody_is_no_account() -> None:
    async with mas_world() as w:
        assert await w.process(deletion()) == [Outcome.NO_ACCOUNT]


async def test_what_synapse_alone_was_told_is_set_right_by_a_look() -> None:
    """The account is deactivated in Synapse, and active in MAS: the person could log in and go on."""
    async with mas_world(ALICE) as w:
        await w.process(deletion())
        assert (await w.at_mas.admin("POST", f"users/{await w.at_mas.id_of(ALICE)}/reactivate")).status_code == 200
        w.account()["deactivated"] = True
        assert await mas_side(w) == "active"
        assert await w.processor.recheck(ALICE) is Checked.CHANGED
        assert await mas_side(w) == "deactivated"


async def test_no_name_is_written_to_an_account_that_mas_has_deactivated() -> None:
    """Its job has not reached Synapse yet. And nothing of it is believed later."""
    async with mas_world(ALICE) as w:
        await w.at_mas.control("PUT", "jobs", {"held": True})
        await w.at_mas.admin("POST", f"users/{await w.at_mas.id_of(ALICE)}/deactivate")
        assert await w.process(profile(display_name="Alice")) == [Outcome.NO_ACCOUNT]
        assert w.homeserver.calls("PUT") == []
        assert (await w.users.read(ALICE)).state.known is None


async def test_names_go_to_synapse() -> None:
    async with mas_world(ALICE) as w:
        assert await w.process(profile(display_name="Ada")) == [Outcome.APPLIED]
        assert w.account()["displayname"] == "Ada"
        assert await w.at_mas.writes() == []


async def test_sessions_that_began_before_the_change_end_and_later_ones_go_on() -> None:
    """Synapse alone could not tell them apart."""
    async with mas_world(ALICE) as w:
        for kind in ("user", "oauth2", "compat"):
            await w.at_mas.session(ALICE, kind, EPOCH - timedelta(hours=1))
            await w.at_mas.session(ALICE, kind, EPOCH + timedelta(hours=1))
        await w.at_mas.session(ALICE, "compat", EPOCH)
        assert await w.process(password(second=0)) == [Outcome.APPLIED]
        assert sorted(path.split("/")[0] for path in await w.at_mas.writes()) == [
            "compat-sessions", "compat-sessions", "oauth2-sessions", "user-sessions"
        ]  # fmt: skip
        assert await w.process(password(second=0)) == [Outcome.UNCHANGED]


async def test_more_sessions_than_a_page_end() -> None:
    async with mas_world(ALICE) as w:
        for number in range(205):
            await w.at_mas.session(ALICE, "compat", EPOCH - timedelta(seconds=number + 1))
        assert await w.process(password()) == [Outcome.APPLIED]
        assert len(await w.at_mas.writes()) == 205


async def test_an_account_is_created_in_mas_with_its_name_and_link() -> None:
    async with mas_world() as w:
        assert await w.process(created()) == [Outcome.APPLIED]
        assert await mas_side(w) == "active"
        assert w.account()["displayname"] == "ally"
        assert await w.at_mas.writes() == ["users", "upstream-oauth-links"]
        assert await w.process(created()) == [Outcome.UNCHANGED]


async def test_a_user_who_was_there_is_linked() -> None:
    async with mas_world(ALICE) as w:
        assert await w.process(created()) == [Outcome.APPLIED]
        assert await w.at_mas.writes() == ["upstream-oauth-links"]


async def test_an_account_that_only_synapse_has_is_taken_over_by_mas() -> None:
    """So that the person's first login opens it."""
    async with mas_world() as w:
        w.login(ALICE)
        assert await w.process(created()) == [Outcome.APPLIED]
        assert await mas_side(w) == "active"


async def test_an_account_that_synapse_alone_has_deactivated_is_not_taken_over() -> None:
    """It was thought to be absent when the creation was decided."""
    async with mas_world() as w:
        await w.process(profile())
        w.login(ALICE)
        w.account()["deactivated"] = True
        account = await w.client.create(ALICE, "Ada", w.provider)
        assert (account.writable, await mas_side(w)) == (False, "absent")
        assert await w.client.link(ALICE, w.provider) is False
        assert await mas_side(w) == "absent"


async def test_an_identity_of_another_user_is_a_letter_with_both_ids() -> None:
    async with mas_world(BOB) as w:
        await w.delegated.mas.link(await w.at_mas.id_of(BOB), w.provider, ALICE)
        assert await w.process(created()) == [Outcome.DEAD_LETTER]
        (letter,) = w.letters.letters
        assert letter.reason is Reason.EXTERNAL_ID_TAKEN
        assert letter.ids == f"{w.homeserver.mxid(ALICE)} {w.homeserver.mxid(BOB)}"


async def test_mas_away_holds_everything_and_loses_nothing() -> None:
    async with mas_world(ALICE) as w:
        await w.at_mas.control("POST", "faults", {})
        assert await w.process(deletion()) == [Outcome.RETRY]
        assert w.health.failure is not None
        assert w.health.failure.reason is Reason.MAS_UNAVAILABLE
        assert w.account()["deactivated"] is False
        await w.at_mas.control("DELETE", "faults")
        w.health.failure = None
        assert await w.process(deletion()) == [Outcome.APPLIED]
        assert await mas_side(w) == "deactivated"


async def test_a_request_that_mas_alone_fails_on_is_a_letter() -> None:
    async with mas_world(ALICE) as w:
        await w.at_mas.control("POST", "faults", {"path": "/api/admin/v1/users/0", "method": "POST", "status": 500})
        assert await w.process(deletion()) == [Outcome.DEAD_LETTER]
        assert w.letters.reasons == [Reason.MAS_ERROR]


async def test_synapse_away_is_no_fault_of_the_creation_that_mas_refuses() -> None:
    """MAS answers 500 if Synapse does: an outage fills no dead letters."""
    async with mas_world() as w:
        w.homeserver.down = True
        assert await w.process(created()) == [Outcome.RETRY]
        assert w.letters.letters == []


async def test_a_lost_answer_of_a_deactivation_is_no_second_account_ended() -> None:
    async with mas_world(ALICE, deletions=1) as w:
        await w.at_mas.control(
            "POST", "faults", {"path": "/api/admin/v1/users/0", "method": "POST", "times": 1, "after": True}
        )
        assert await w.process(deletion()) == [Outcome.APPLIED]
        assert await mas_side(w) == "deactivated"
        assert w.account()["deactivated"] is True


async def test_the_deletion_limit_holds_under_mas() -> None:
    async with mas_world(ALICE, BOB, deletions=1) as w:
        assert await w.process(deletion(ALICE), deletion(BOB)) == [Outcome.APPLIED, Outcome.DEAD_LETTER]
        assert await mas_side(w, f"nova-{BOB}") == "active"


async def test_a_look_at_a_deleted_user_sees_both_sides() -> None:
    async with mas_world(ALICE) as w:
        account = await w.client.account(ALICE)
        assert account is not None
        assert (account.mas_active, account.half_ended) == (True, False)
        await w.client.before(EPOCH + timedelta(days=1), w.clock).deactivate(ALICE, erase=False)
        account = await w.client.account(ALICE)
        assert account is not None
        assert (account.mas_active, account.half_ended, account.ended) == (False, False, True)


async def test_a_provider_that_mas_does_not_have_refuses_the_link_and_nothing_else() -> None:
    """The provider was removed from the configuration of MAS, or its id is mistyped."""
    async with mas_world(ALICE) as w:
        w.provider = "01HFVBY12TMNTYTBV8W921M5FB"
        w.restart()
        await w.at_mas.session(ALICE, "compat", EPOCH - timedelta(hours=1))
        assert await w.process(created(second=1)) == [Outcome.DEAD_LETTER]
        events = password(second=2), profile(second=3, display_name="Ada")
        assert await w.process(*events) == [Outcome.APPLIED, Outcome.APPLIED]
        assert w.letters.reasons == [Reason.MAS_REFUSED]


async def test_sessions_of_an_account_that_synapse_alone_has_deactivated_end_with_the_password() -> None:
    """The person goes on at MAS, whatever Synapse says."""
    async with mas_world(ALICE) as w:
        w.account()["deactivated"] = True
        session = await w.at_mas.session(ALICE, "compat", EPOCH - timedelta(hours=1))
        assert await w.process(password()) == [Outcome.APPLIED]
        assert await w.at_mas.writes() == [f"compat-sessions/{session}/finish"]
        assert w.homeserver.calls("PUT") == []


async def test_sessions_of_a_user_of_whom_synapse_knows_nothing_end_with_the_password() -> None:
    async with mas_world(ALICE) as w:
        session = await w.at_mas.session(ALICE, "user", EPOCH - timedelta(hours=1))
        del w.homeserver.accounts[w.homeserver.mxid(ALICE)]
        assert await w.process(password()) == [Outcome.APPLIED]
        assert await w.at_mas.writes() == [f"user-sessions/{session}/finish"]


async def test_what_mas_refuses_of_them_is_a_letter() -> None:
    async with mas_world(ALICE) as w:
        await w.at_mas.session(ALICE, "user", EPOCH - timedelta(hours=1))
        del w.homeserver.accounts[w.homeserver.mxid(ALICE)]
        await w.at_mas.control("POST", "faults", {"path": "/api/admin/v1/user-sessions/", "status": 500})
        assert await w.process(password()) == [Outcome.DEAD_LETTER]


async def test_a_session_that_mas_does_not_end_keeps_no_other_one_alive() -> None:
    async with mas_world(ALICE) as w:
        for kind in ("user", "oauth2", "compat"):
            await w.at_mas.session(ALICE, kind, EPOCH - timedelta(hours=1))
        await w.at_mas.control(
            "POST", "faults", {"path": "/api/admin/v1/user-sessions/", "method": "POST", "status": 500}
        )
        assert await w.process(password()) == [Outcome.DEAD_LETTER]
        assert w.letters.reasons == [Reason.MAS_ERROR]
        left = [kind for kind in ("oauth2-sessions", "compat-sessions") if await active(w, kind)]
        assert left == []
        await w.at_mas.control("DELETE", "faults")
        assert await w.process(password(second=1)) == [Outcome.APPLIED]
        assert await active(w, "user-sessions") == 0


async def active(w: MasHarness, kind: str) -> int:
    return len((await w.at_mas.admin("GET", f"{kind}?filter[status]=active")).json()["data"])
