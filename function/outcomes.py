"""The two error words of the project; reasons.py has every reason they carry.

`Rejected`: this event can't succeed; it goes to the dead letters with the reason.
`TryAgain`: the world is broken, not the event; it is answered RETRY and waits in Kafka.

A detail names fields, codes and statuses, never values: names, addresses, ids and tokens stay out of it.
"""

from function.reasons import Reason as Reason  # noqa: PLC0414 - the failures and their reasons are one import


class Rejected(Exception):
    """Hopeless: retrying can't help while the event and the world are as they are. Also used as a value.

    `ids` are the Matrix ids that a person needs to decide; they stand in the dead letter and nowhere else.
    """

    def __init__(self, reason: Reason, detail: str = "", ids: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.ids = ids


class TryAgain(Exception):
    """Passing: the same event can succeed later."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
