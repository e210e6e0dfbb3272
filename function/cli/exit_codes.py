"""Defines the exit codes of all commands; docs/reference/cli.md has them as a table."""

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """How a command ended. `means` is the text of the table."""

    means: str

    def __new__(cls, value: int, means: str) -> Self:
        """Creates a member that carries its text."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.means = means
        return member

    DONE = (0, "Everything that was asked for is done, and nothing is wrong.")
    ATTENTION = (
        1,
        (
            "Done as far as it goes, and something needs a person: a failed check, drift, letters that could not be "
            "replayed, a record that would be a dead letter."
        ),
    )
    INVALID = (
        2,
        "A setting, an option or an input is invalid; nothing was done. The message names it and what it expects.",
    )
    UNAVAILABLE = (
        3,
        "Kafka, the sidecar, the state store or Synapse does not answer or refuses; the message says what to do.",
    )
    CUT_SHORT = (
        4,
        (
            "Cut short: a read ended before the end, or the reader of the output closed it, as `head` does. What was printed is "
            "true but incomplete; the message says where it ended."
        ),
    )
    INTERRUPTED = (
        130,
        "Ctrl-C or SIGTERM; the message says what was done and how to go on. Also the end of a command that follows.",
    )
    TERMINATED = (143, "The server was stopped by SIGTERM, after the batches in flight.")
