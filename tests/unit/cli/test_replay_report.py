"""The report of a replay: counts in each case, how to go on, and an exit code that says whether a person is needed."""

import json
from collections import Counter

import pytest

from function.cli.exit_codes import ExitCode
from function.cli.letters import Ended, Ending
from function.cli.replay_report import Job, Report, Source, print_report, say_plan
from function.dead_letters.replay import Options, Tally
from function.dead_letters.selection import Selection

DEAD = Job(Source.DEAD, Selection(), Options())


def report(ended: Ended = Ended.COMPLETE, why: str = "", **more: object) -> Report:
    counts = {"replayed": Counter({"synapse_error": 8, "deletion_limit": 3})} | more
    return Report(Tally(read=20, **counts), Ending(ended, why))  # type: ignore[arg-type]


def test_everything_replayed_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_report(report(), DEAD, done=True) is ExitCode.DONE
    assert capsys.readouterr() == (
        "11 replayed, 0 failed, 0 held back, 0 stuck, 0 done before\n  replayed: 8 synapse_error, 3 deletion_limit\n",
        "",
    )


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (Ended.COMPLETE, ExitCode.ATTENTION),
        (Ended.MAX, ExitCode.ATTENTION),
        (Ended.INTERRUPTED, ExitCode.INTERRUPTED),
        (Ended.CUT_SHORT, ExitCode.CUT_SHORT),
        (Ended.UNAVAILABLE, ExitCode.UNAVAILABLE),
    ],
)
def test_the_counts_are_told_however_it_ended(
    capsys: pytest.CaptureFixture[str], ended: Ended, code: ExitCode
) -> None:  # fmt: skip
    ran = report(ended, "why it ended", failed=2, failed_places=["3:17", "4:1"], held_back=1)
    assert print_report(ran, DEAD, done=True) is code
    output, errors = capsys.readouterr()
    assert output.startswith("11 replayed, 2 failed, 1 held back")
    assert "failed, still open: 3:17, 4:1; later letters" in output
    assert ("go on with the same command" in errors) == (ended is not Ended.COMPLETE)
    assert ("why it ended" in errors) == (ended not in (Ended.COMPLETE, Ended.MAX))


@pytest.mark.parametrize("ended", list(Ended))
def test_json_says_whether_the_read_was_complete(capsys: pytest.CaptureFixture[str], ended: Ended) -> None:
    job = Job(Source.DEAD, Selection(), Options(), as_json=True)
    print_report(report(ended), job, done=True)
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert (summary["ended"], summary["complete"]) == (ended.value, ended is Ended.COMPLETE)
    assert summary["replayed"] == {"synapse_error": 8, "deletion_limit": 3}


def test_the_main_topic_has_a_place_to_go_on_from(capsys: pytest.CaptureFixture[str]) -> None:
    ran = report(Ended.MAX)
    ran.positions = "0:17,1:20"
    assert print_report(ran, Job(Source.EVENTS, Selection(), Options()), done=True) is ExitCode.DONE
    assert "go on with --from events --from-offset 0:17,1:20" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("permits", "said"),
    [
        (1, "3 of these are deletions held back by the limit; 1 will pass within this hour; the rest come back"),
        (3, "3 of these are deletions held back by the limit; 3 will pass within this hour\n"),
        (None, ""),
    ],
)
def test_the_plan_says_how_many_deletions_will_pass(
    capsys: pytest.CaptureFixture[str], permits: int | None, said: str
) -> None:  # fmt: skip
    survey = report()
    survey.permits = permits
    say_plan(survey, DEAD)
    errors = capsys.readouterr().err
    assert "11 letters to replay: 8 synapse_error, 3 deletion_limit" in errors
    assert said in errors
    assert ("limit;" in errors) == bool(said)


def test_a_letter_that_is_not_there_needs_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    job = Job(Source.DEAD, Selection(places=frozenset({(0, 1), (6, 4)})), Options())
    assert print_report(report(found={(0, 1)}), job, done=True) is ExitCode.ATTENTION
    assert "not in the topic, or not matching the filter: 6:4" in capsys.readouterr().err
