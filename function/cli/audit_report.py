"""Prints an audit: a line for each drift, then the summary, as text for a person or as JSON, one object on each line.

The text is plain and wrapped, so that it reads the same on a narrow terminal, in a file and without UTF-8.
"""

import shutil
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from function.audit.drift import Kind
from function.audit.findings import AuditSummary, Cursor, Drift
from function.cli.exit_codes import ExitCode
from function.cli.output import discard_output, print_json, say
from function.outcomes import Rejected, TryAgain

LONGEST_LINE = 100


@dataclass(frozen=True, slots=True)
class Report:
    """Prints one audit.

    Args:
        as_json: one JSON object on each line.
        dry_run: each drift is what a repair would end.
        max_repairs: limit of repairs, for the message that it is reached.
    """

    as_json: bool = False
    dry_run: bool = False
    max_repairs: int | None = None

    def drift(self, drift: Drift, mxid: Callable[[str], str]) -> None:
        """Prints a drift. Flushed, so that every repair is on record however the process ends."""
        result = {None: "found", True: "repaired", False: "left"}[drift.repaired]
        if self.dry_run:
            result = "would"
        if self.as_json:
            body = {"kind": drift.kind, "user": mxid(drift.user_id), "detail": drift.detail, "result": result}
            print_json({"drift": body | ({"reason": drift.why} if drift.why else {})})
            return
        words = {"would": "would be repaired", "left": f"left: {drift.why}"}.get(result, result)
        line = (f"{drift.kind:14}", mxid(drift.user_id), drift.detail, words)
        print("  ".join(word for word in line if word), flush=True)

    def end(
        self, summary: AuditSummary, cursor: Cursor | None, code: ExitCode, failure: TryAgain | Rejected | None = None
    ) -> None:
        """Prints the summary on standard output, and on standard error why the audit ended early and where to go on."""
        try:
            if self.as_json:
                more = {"next": str(cursor) if cursor else None, "exit_code": int(code)}
                if failure:
                    more["failure"] = failure.reason.value
                print_json({"summary": summary.as_json() | more})
            else:
                print(*_lines(summary), sep="\n", flush=True)
        except BrokenPipeError:
            discard_output()
        for line in self._reasons(summary, code):
            say(line)
        if cursor:
            say(f"not finished; go on with --from {cursor}")

    def _reasons(self, summary: AuditSummary, code: ExitCode) -> list[str]:
        if code is ExitCode.CUT_SHORT:
            return [f"standard output was closed; {summary.repaired.total()} repaired"]
        if summary.not_attempted:
            return [f"--max-repairs {self.max_repairs} is reached; at least {summary.not_attempted} more to repair"]
        return []


def stopping(cursor: Cursor | None, *, repairing: bool) -> None:
    """Tells that a signal was received."""
    first = "; the repair that is running is finished first, Ctrl-C again ends at once" if repairing else ""
    say(f"stopping{first}; go on with --from {cursor}")


def _lines(summary: AuditSummary) -> list[str]:
    width = min(LONGEST_LINE, shutil.get_terminal_size((LONGEST_LINE, 24)).columns)
    counts = {"accounts": summary.accounts, "uploaded images": summary.media, "drift": summary.found.total(),
              "repaired": summary.repaired.total(), "accounts without a record": summary.no_record,
              "deactivated by another client": summary.deactivated_elsewhere}  # fmt: skip
    lines = textwrap.wrap("; ".join(f"{what}: {count}" for what, count in counts.items()), width)
    for reason, count in summary.unchecked.items():
        lines += textwrap.wrap(f"{count} could not be checked: {reason}. {reason.todo}", width)
    for kind in (kind for kind in Kind if summary.found[kind]):
        lines.append(f"{kind}: {summary.found[kind]} found, {summary.repaired[kind]} repaired")
        for text in (kind.means, f"--repair: {kind.repair}"):
            lines += textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")
    return lines
