"""What `replay` and `discard` do after a person confirmed on a terminal: what they said, and no more."""

import os
import pty
import subprocess
from collections.abc import Mapping

import pytest

from dev.identity_events import new_user
from dev.servers.daprd import Tool
from tests.integration.dead_letters import letter
from tests.integration.stack import StackUnderTest


class Person:
    """Runs a command on a terminal of its own."""

    def __init__(self, environment: Mapping[str, str], command: str, *options: str) -> None:
        own, terminal = pty.openpty()
        words = [*Tool(environment, command).words, *options]
        env = os.environ | {name: value for name, value in environment.items() if not name.startswith("DEV_")}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, env=env, stdin=terminal, stdout=pipe, stderr=pipe, text=True)
        os.close(terminal)
        self._own = own

    def asked(self, question: str) -> str:
        """Returns what was said before the question. Ends at the end of the output at the latest."""
        assert self._process.stderr
        said = ""
        while question not in said and (more := self._process.stderr.read(1)):
            said += more
        assert question in said, said
        return said

    def answer(self, text: str) -> tuple[int, str]:
        """Answers; returns exit code and output."""
        os.write(self._own, text.encode() + b"\n")
        output, _ = self._process.communicate(timeout=180)
        os.close(self._own)
        return self._process.returncode, output


@pytest.mark.parametrize(
    ("command", "question"), [(("replay",), "Replay them to"), (("discard", "--why", "a test"), "Discard them?")]
)
def test_a_letter_that_comes_while_a_person_thinks_stays_open(
    world: StackUnderTest, command: tuple[str, ...], question: str
) -> None:
    user = new_user()
    seen, later = letter(user), letter(user)
    world.send(seen)
    person = Person(world.environment, *command, "--user", user)
    assert "1 letters to" in person.asked(question)
    world.send(later)
    code, output = person.answer("y")
    assert code == 0
    assert output.startswith("1 ")
    [left] = world.listed("--user", user)
    assert left["event_id"] == later.event_id
