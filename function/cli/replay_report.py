"""What a replay is asked to do, and the report of what became of it: as text, as JSON and as exit code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from function.cli.exit_codes import ExitCode
from function.cli.letters import Ended, Ending, counted, place_text, print_summary, say_rest
from function.cli.output import say
from function.dead_letters.marks import Place
from function.dead_letters.replay import Options, Tally
from function.dead_letters.selection import Selection
from function.outcomes import Reason


class Source(StrEnum):
    """The topic that `replay` reads."""

    DEAD = "dead"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Job:
    """What to replay, from where, and how to print."""

    source: Source
    selection: Selection
    options: Options
    as_json: bool = False
    silent: bool = False  # count only: the letters are not named


@dataclass(slots=True)
class Report:
    """What came of a job."""

    tally: Tally
    ending: Ending
    positions: str = ""  # where to go on, for --from-offset; "" for dead letters
    ends: Mapping[int, int] = field(default_factory=dict)  # of what was read, by partition
    gone: int = 0
    foreign: int = 0
    permits: int | None = None  # deletions that the limit lets pass now; None for no limit


def say_plan(survey: Report, job: Job) -> None:
    """Says what will be replayed, before anything is."""
    chosen = survey.tally.replayed
    what = "records" if job.source is Source.EVENTS else "letters"
    say(f"{chosen.total()} {what} to replay" + (f": {counted(chosen)}" if job.source is Source.DEAD else ""))
    deletions = chosen[Reason.DELETION_LIMIT]
    if deletions and survey.permits is not None:
        rest = "" if survey.permits >= deletions else "; the rest come back as new letters"
        say(
            f"{deletions} of these are deletions held back by the limit; "
            f"{min(deletions, survey.permits)} will pass within this hour{rest}"
        )


def print_report(report: Report, job: Job, *, done: bool) -> ExitCode:
    """Prints the counts, always, and how to go on; returns the exit code. `done`: letters were replayed, not only counted."""
    missing = sorted(job.selection.places - report.tally.found) if report.ending.ended is Ended.COMPLETE else []
    if job.as_json:
        print_summary(_as_json(report, done=done, missing=[place_text(place) for place in missing]))
    else:
        _print_counts(report, job, done=done)
    _say_rest(report, job, missing)
    tally, code = report.tally, report.ending.ended.code
    attention = tally.failed or tally.held_back or tally.stuck or missing or report.gone
    return ExitCode.ATTENTION if attention and code is ExitCode.DONE else code


def _as_json(report: Report, *, done: bool, missing: list[str]) -> dict[str, Any]:
    tally, ended = report.tally, report.ending.ended
    return {
        "ended": ended, "complete": ended is Ended.COMPLETE, "why": report.ending.why, "dry_run": not done,
        "read": tally.read, "replayed": dict(tally.replayed), "failed": tally.failed, "failed_letters": tally.failed_places,
        "held_back": tally.held_back, "stuck": dict(tally.stuck), "closed": tally.closed, "unmarked": tally.unmarked,
        "not_found": missing, "gone": report.gone, "foreign_marks": report.foreign,
        "deletions_that_pass": report.permits, "go_on_from": report.positions,
    }  # fmt: skip


def _print_counts(report: Report, job: Job, *, done: bool) -> None:
    tally, would = report.tally, "" if done else "would be "
    print(f"{tally.replayed.total()} {would}replayed, {tally.failed} failed, {tally.held_back} held back, "
          f"{tally.stuck.total()} stuck, {tally.closed} done before")  # fmt: skip
    if job.source is Source.DEAD and tally.replayed:
        print(f"  {would}replayed: {counted(tally.replayed)}")
    if tally.failed:
        more = ", ..." if tally.failed > len(tally.failed_places) else ""
        print(
            f"  failed, still open: {', '.join(tally.failed_places)}{more}; later letters of the same users are held back"
        )
    if tally.stuck:
        print(f"  stuck: {counted(tally.stuck)}: replayed too often; find the cause before raising --max-replays")


def _say_rest(report: Report, job: Job, missing: Sequence[Place]) -> None:
    """Says on standard error what the counts do not: what is missing, and how to go on."""
    tally, ended = report.tally, report.ending.ended
    if tally.unmarked:
        say(
            f"{tally.unmarked} letters were replayed but not marked: they look open, and a replay of them changes nothing"
        )
    say_rest(report.ending, missing, report.gone, report.foreign)
    if report.positions:
        say(f"go on with --from events --from-offset {report.positions}")
    elif ended is not Ended.COMPLETE and job.source is Source.DEAD and not job.options.dry_run:
        say("go on with the same command: letters that were replayed are marked and left out")
