"""Runs `check` where Matrix Authentication Service (MAS) owns the accounts, and the page's commands for the service user."""

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.checking import check
from tests.integration.mas.stack import World, running
from tests.integration.stack import wait_until

PAGE = (Path(__file__).parents[3] / "docs" / "mas.md").read_text()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Also waits until the function is ready: it has made its own session by then."""
    with running(tmp_path_factory.mktemp("mas")) as started:
        ready = started.running.function.ready_body
        wait_until(lambda: ready().get("ready") is True, f"the function is ready, and not {ready()}")
        yield started


def sessions(world: World) -> list[str]:
    """Returns the personal sessions that are active."""
    answer = world.server.admin("GET", "personal-sessions?filter[status]=active&page[first]=100").raise_for_status()
    return sorted(row["id"] for row in answer.json()["data"])


def test_everything_is_in_order_on_both_sides_and_no_session_is_left_behind(world: World) -> None:
    before = sessions(world)
    checked = check(world.running)
    assert (checked.wrong(), checked.code) == ([], 0)
    assert checked.row("accounts")["found"] == f"owned by MAS at {world.mas.url}"
    assert "personal session" in checked.row("admin token")["found"]
    assert {"MAS", "service user", "upstream provider", "deactivations", "deactivations in MAS"} <= {
        row["what"] for row in checked.rows
    }
    assert sessions(world) == before


@pytest.mark.parametrize(
    ("changes", "wrong", "said"),
    [
        ({"MATRIX_MAS_URL": ""}, "accounts", "mas_not_configured: MATRIX_MAS_URL is not set"),
        ({"MATRIX_MAS_URL": "http://127.0.0.1:9"}, "MAS", "mas_unavailable"),
        ({"MATRIX_MAS_PROVIDER": "01HFVBY12TMNTYTBV8W921M5FA"}, "upstream provider", "MAS has none with the id"),
        ({"MATRIX_SERVICE_USER": "@another:staging.nova.app"}, "service user", "MATRIX_SERVICE_USER is no user of MAS"),
        ({"MATRIX_SERVICE_USER": ""}, "service user", "and MATRIX_SERVICE_USER is not set"),
    ],
)
def test_what_is_wrong_is_named(world: World, changes: dict[str, str], wrong: str, said: str) -> None:
    before = sessions(world)
    checked = check(world.running, **changes)
    assert (checked.wrong(), checked.code) == ([wrong], 1)
    assert said in checked.row(wrong)["found"]
    assert sessions(world) == before


@pytest.mark.parametrize(
    ("client", "said", "advice"),
    [
        ({"secret": "another"}, "mas_token_refused: token: 401 invalid_client", "`clients`"),
        ({"admin": False}, "mas_token_refused: token: 403 invalid_scope", "`policy.data.admin_clients`"),
    ],
)
def test_a_client_that_mas_does_not_take_is_told_with_what_to_set(
    world: World, client: dict[str, object], said: str, advice: str
) -> None:
    world.mas.control("PUT", "client", client)
    try:
        checked = check(world.running)
    finally:
        world.server.reset()
    assert checked.wrong() == ["MAS"]
    assert checked.row("MAS")["found"] == said
    assert advice in checked.row("MAS")["advice"]


def test_the_commands_of_the_page_make_a_service_user_without_a_rate_limit(world: World) -> None:
    """With a token that the second block makes, of a session that ends by itself."""
    section = PAGE.partition("### 3. The service user")[2].partition("### 4.")[0]
    user = f"sync-{uuid.uuid4().hex[:8]}"
    script = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL)).replace("nova-service", user)
    client, secret = world.server.client
    given = {
        "CLIENT_ID": client,
        "CLIENT_SECRET": secret,
        "MAS": world.mas.url,
        "SYNAPSE": str(world.server.homeserver.base_url),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], env=os.environ | given, capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    limit = f"/_synapse/admin/v1/users/{quote(f'@{user}:{world.server.server_name}')}/override_ratelimit"
    assert world.server.synapse("GET", limit).json() == {"messages_per_second": 0, "burst_count": 0}
    assert secret not in done.stdout + done.stderr
