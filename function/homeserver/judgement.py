"""Judges Synapse's answers: success, a refusal of this request, or an answer that is in doubt. Pure; requests.py asks
the probe whose fault an answer in doubt is.

Statuses and error codes are those of Synapse 1.163; see the Admin API's documentation and `synapse.api.errors`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from function.homeserver.messages import LISTS, Answer, Expected, Fields
from function.operations import Operation
from function.outcomes import Reason, Rejected, TryAgain

# The state of the admin's own account. Codes of a token that is unknown or missing come with 401.
SUSPENDED_CODES = frozenset({
    "M_USER_SUSPENDED", "M_USER_LOCKED", "M_USER_DEACTIVATED", "ORG_MATRIX_EXPIRED_ACCOUNT",
    "ORG.MATRIX.MSC3866_USER_AWAITING_APPROVAL",
})  # fmt: skip
LIMITED_CODES = frozenset({"M_USER_LIMIT_EXCEEDED", "M_RESOURCE_LIMIT_EXCEEDED", "M_CONSENT_NOT_GIVEN"})
# They say nothing about the request: an admin who was demoted gets 400 M_FORBIDDEN, a worker answers M_UNRECOGNIZED.
_DOUBTFUL_CODES = frozenset({"M_FORBIDDEN", "M_UNRECOGNIZED", "M_LIMIT_EXCEEDED"}) | SUSPENDED_CODES
_REFUSALS = frozenset({400, 409, 413})
_DEACTIVATIONS = frozenset({Operation.DEACTIVATE, Operation.ERASE})
_UNSUITABLE = ("suspended", "locked", "deactivated")  # fields of the admin's own account


class DoubtError(Exception):
    """The end of one attempt that does not tell whether the request or the server is at fault.

    `what` has statuses and codes. `passing`: the next attempt may succeed. `late`: there was no answer in time. `sent`: the
    server may have received the request. `reason`: of the dead letter, if other requests work.
    """

    def __init__(
        self, what: str, reason: Reason, *, passing: bool = False, late: bool = False, sent: bool = True
    ) -> None:
        super().__init__(what)
        self.what, self.reason, self.passing, self.late, self.sent = what, reason, passing, late, sent


@dataclass(frozen=True, slots=True)
class Judgement:
    """How one server's answers are judged.

    Attributes:
        is_own: whether an answer is a success with its operation's mark, or another answer that the operation expects.
        may_be_applied: whether the server may have carried out the request of an answer that is not its operation's own.
        judged: the failure that such an answer means.
        error: the reason of a request that gets no answer although the server works.
        unavailable: the reason while it does not.
    """

    is_own: Callable[[Answer, Expected], bool]
    may_be_applied: Callable[[Answer], bool]
    judged: Callable[[Answer, Operation], Rejected | TryAgain | DoubtError]
    error: Reason
    unavailable: Reason

    def of_request(self, doubt: DoubtError, method: str) -> Rejected | TryAgain:
        """Returns the failure once other requests are known to work. A request that had no connection is not at fault."""
        what = f"{method}: {doubt.what}"
        return Rejected(doubt.reason, what) if doubt.sent else TryAgain(self.unavailable, what)


def is_own(answer: Answer, expected: Expected) -> bool:
    """Returns whether the answer is a success with its operation's mark, or an expected "there is none"."""
    if answer.success:
        return answer.is_object and expected.mark(answer.body)
    return expected.absent and answer.status == 404 and answer.errcode == "M_NOT_FOUND"


def may_be_applied(answer: Answer) -> bool:
    """Returns whether Synapse may have carried out the request of an answer that is not the operation's own.

    A 4xx with an error code is Synapse's own refusal; but its rate limiter answers 429 after the write, and without a code
    a proxy answered, which may have passed the request on.
    """
    return answer.status == 429 or not (400 <= answer.status < 500 and answer.errcode)


def judged(answer: Answer, operation: Operation) -> Rejected | TryAgain | DoubtError:
    """Returns the failure that an answer means which is not the operation's own.

    Rejected: Synapse refuses the request, by 400, 409 or 413 with an error code. TryAgain: the admin account reached a limit.
    DoubtError: any other answer; if the token is refused, the probe will tell.
    """
    if answer.errcode in LIMITED_CODES:
        return probe_failure(answer)
    if answer.status >= 500:
        late = answer.status == 504 and operation in LISTS  # a proxy's own limit is over; Synapse goes on
        return DoubtError(str(answer), Reason.SYNAPSE_ERROR, passing=not late, late=late)
    if answer.status >= 400 and answer.errcode:
        reason = Reason.DEACTIVATION_INCOMPLETE if operation in _DEACTIVATIONS else Reason.SYNAPSE_REFUSED
        if answer.status in _REFUSALS and answer.errcode not in _DOUBTFUL_CODES:
            return Rejected(reason, str(answer))
        return DoubtError(str(answer), reason)
    return DoubtError(_described(answer), Reason.UNEXPECTED_ANSWER)


def probe_failure(answer: Answer) -> TryAgain:
    """Returns what an answer to the probe means that is not its own: every event waits."""
    if answer.errcode in SUSPENDED_CODES:
        return TryAgain(Reason.ADMIN_SUSPENDED, str(answer))
    if answer.errcode in LIMITED_CODES:
        return TryAgain(Reason.ADMIN_LIMITED, str(answer))
    if answer.errcode and (answer.status == 401 or answer.errcode == "M_FORBIDDEN"):
        return TryAgain(Reason.TOKEN_REFUSED, str(answer))
    if answer.status >= 500:
        return TryAgain(Reason.SYNAPSE_UNAVAILABLE, f"probe: {answer}")
    return TryAgain(Reason.SYNAPSE_UNEXPECTED, f"probe: {_described(answer)}")


def check_own_account(account: Fields) -> None:
    """Checks the admin's own account.

    Its field `admin` is not judged: under Matrix Authentication Service the token's scope decides, and an account that is no
    admin can't read itself through the Admin API.

    Raises:
        TryAgain: it is suspended, locked or deactivated: requests that write profiles fail, others do not.
    """
    for state in _UNSUITABLE:
        if account.get(state):
            raise TryAgain(Reason.ADMIN_SUSPENDED, f"the admin account is {state}")


def _described(answer: Answer) -> str:
    if not answer.success:
        return str(answer)
    return f"{answer.status} without {'the fields of its operation' if answer.is_object else 'a JSON object'}"


SYNAPSE = Judgement(is_own, may_be_applied, judged, Reason.SYNAPSE_ERROR, Reason.SYNAPSE_UNAVAILABLE)
