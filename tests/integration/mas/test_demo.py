"""The local stack where MAS owns the accounts, and `make demo MAS=1` on it."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

import pytest
from rich.console import Console

from dev.__main__ import sidecar_environment
from dev.demo.__main__ import run_demo
from dev.demo.script import PEOPLE, Step
from dev.demo.tables import Side, Visit, show_accounts, show_events, show_letters, show_visits
from dev.mas_stack import MasStack
from dev.stack import Ports
from tests.integration.stack import StackUnderTest


@dataclass
class Shown:
    """A console whose text a test can read."""

    out: io.StringIO = field(default_factory=io.StringIO)

    @property
    def console(self) -> Console:
        return Console(file=self.out, width=130)

    @property
    def text(self) -> str:
        return self.out.getvalue()


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MasStack]:
    """A stack in a folder with something from an earlier run."""
    folder = tmp_path_factory.mktemp("mas-stack")
    (folder / "state.db").write_text("of an earlier run")
    with MasStack(folder, Ports.free(), partitions=3) as started:
        yield started


def test_the_demo_is_as_expected_on_both_sides(stack: MasStack, shown: Shown, tmp_path: Path) -> None:
    running = StackUnderTest(stack, tmp_path)
    try:
        running.start()
        assert run_demo(stack, shown.console, running.function.log_lines), shown.text
    finally:
        running.stop()
    assert "MAS (stand-in) says now" in shown.text
    assert "refused: 403 M_FORBIDDEN" in shown.text


def test_a_stack_that_runs_is_kept_with_its_client_and_its_provider(stack: MasStack) -> None:
    stack.create_account("someone", "Some One")
    again = MasStack(stack.folder, stack.ports)
    again.start()
    assert (again.mas.client_id, again.mas.client_secret) == (stack.mas.client_id, stack.mas.client_secret)
    assert again.provider == stack.provider
    assert (again.account("@someone:staging.nova.app") or {})["displayname"] == "Some One"


def test_a_start_leaves_nothing_of_an_earlier_run(stack: MasStack) -> None:
    """The stand-in's users are in memory: what Synapse and the state store had kept would not go with them."""
    state = stack.folder / "state.db"
    assert not state.exists() or state.read_bytes() != b"of an earlier run"


def test_the_function_gets_mas_and_no_token_of_synapse(stack: MasStack) -> None:
    environment = sidecar_environment(stack)
    assert environment["MATRIX_MAS_URL"] == stack.mas.url
    assert environment["MATRIX_MAS_PROVIDER"] == stack.provider
    assert "MATRIX_ADMIN_TOKEN" not in stack.secrets_file.read_text()


def test_each_difference_is_shown_and_counts(shown: Shown) -> None:
    """Nothing is sent: these are the tables alone."""
    people = {"ada": PEOPLE["ada"]}
    side = Side("MAS (stand-in)", lambda _: "deactivated, no session", attrgetter("in_mas"))
    step = Step("ada", "new display name", "headers", "applied", b"{}", outcome="stale")
    letter = Step("ada", "not JSON", "headers", "dead_letter: not_json", b"{")
    assert not show_accounts(shown.console, people, [side], seconds=0)
    assert not show_events(shown.console, [step])
    assert not show_visits(shown.console, [Visit("ada", "a new login", "refused", lambda: "logged in")])
    assert not show_letters(shown.console, [], [letter])
    for said in ("deactivated, no session (expected active, no session)", "stale (expected applied)"):
        assert said in shown.text
    assert "logged in (expected refused)" in shown.text
