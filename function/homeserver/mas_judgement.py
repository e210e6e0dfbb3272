"""Judges the answers of Matrix Authentication Service (MAS): success, a refusal of this request, or an answer that is in doubt.
Pure.

MAS's errors are JSON:API, `{"errors":[{"title":…}]}`, without codes. A title can hold a user's name or an address: only
statuses are told. A body that MAS can't read is answered in plain text.
"""

from function.homeserver.judgement import DoubtError, Judgement
from function.homeserver.messages import Answer, Expected
from function.operations import Operation
from function.outcomes import Reason, Rejected, TryAgain

_REFUSALS = frozenset({400, 409, 410})
_TOKEN_REFUSED = frozenset({401, 403})


def is_own(answer: Answer, expected: Expected) -> bool:
    """Returns whether the answer is a success with its operation's mark, or another answer that the operation expects."""
    if answer.success:
        return answer.is_object and expected.mark(answer.body)
    return has_errors(answer) and (answer.status in expected.others or (expected.absent and answer.status == 404))


def has_errors(answer: Answer) -> bool:
    """Returns whether the answer has a list of errors, as MAS's own have."""
    return isinstance(answer.body.get("errors"), list)


def may_be_applied(answer: Answer) -> bool:
    """Returns whether MAS may have carried out the request: not if it refuses it by an error of its own."""
    return not (400 <= answer.status < 500 and has_errors(answer))


def judged(answer: Answer, _operation: Operation) -> Rejected | TryAgain | DoubtError:
    """Returns the failure that an answer means which is not the operation's own."""
    if answer.status >= 500:
        return DoubtError(str(answer.status), Reason.MAS_ERROR, passing=True)
    if answer.status in _TOKEN_REFUSED:
        return DoubtError(str(answer.status), Reason.MAS_REFUSED)
    if has_errors(answer) and answer.status in _REFUSALS:
        return Rejected(Reason.MAS_REFUSED, str(answer.status))
    if has_errors(answer):
        return DoubtError(str(answer.status), Reason.MAS_REFUSED)
    return DoubtError(described(answer), Reason.UNEXPECTED_ANSWER)


def probe_failure(answer: Answer) -> TryAgain:
    """Returns what an answer to the probe means that is not its own: every event waits."""
    if answer.status in _TOKEN_REFUSED:
        return TryAgain(Reason.MAS_TOKEN_REFUSED, f"{answer.status}: the client may not use the admin API")
    if answer.status >= 500 or answer.status == 429:  # MAS itself limits no client: a proxy does
        return TryAgain(Reason.MAS_UNAVAILABLE, f"probe: {answer.status}")
    return TryAgain(Reason.MAS_UNEXPECTED, f"probe: {described(answer)}")


def described(answer: Answer) -> str:
    """Returns the status, and what a success lacks."""
    if not answer.success:
        return str(answer.status)
    return f"{answer.status} without {'the fields of its operation' if answer.is_object else 'a JSON object'}"


MAS = Judgement(is_own, may_be_applied, judged, Reason.MAS_ERROR, Reason.MAS_UNAVAILABLE)
