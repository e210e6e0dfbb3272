"""A person's first login lands on the account that was made ahead of it: real Synapse, single sign-on, real provider."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from dev.identity_events import created, new_user, profile
from dev.running_stack import mxid
from dev.stack import Stack
from tests.integration.servers.oidc import Provider, provider
from tests.integration.stack import StackUnderTest

Tell = Callable[[str], None]


def login(synapse: str, nova: Provider, person: str) -> str:
    """The Matrix id that the person gets by logging in with the provider, as a browser does."""
    nova.person = person
    cookies: dict[str, str] = {}  # by hand: loopback counts as secure for a browser, but not for httpx
    with httpx.Client(follow_redirects=False) as browser:
        here = f"{synapse}/_matrix/client/v3/login/sso/redirect/oidc-nova?redirectUrl=http://127.0.0.1/done"
        while not here.startswith("http://127.0.0.1/done"):
            answer = browser.get(here, headers={"Cookie": "; ".join(f"{n}={v}" for n, v in cookies.items())})
            cookies |= dict(one.split(";")[0].split("=", 1) for one in answer.headers.get_list("set-cookie"))
            assert answer.is_redirect, re.sub(r"<style.*?</style>|<[^>]+>|\s+", " ", answer.text, flags=re.DOTALL)
            here = answer.headers["location"]
        [token] = parse_qs(urlsplit(here).query)["loginToken"]
        body = {"type": "m.login.token", "token": token}
        return str(browser.post(f"{synapse}/_matrix/client/v3/login", json=body).raise_for_status().json()["user_id"])


def test_the_first_login_lands_on_the_account_that_was_created_before_it(tmp_path: Path, tell: Tell) -> None:
    """With its name; without the event a login makes the account, as before."""
    with provider() as nova:
        stack = Stack.on_free_ports(tmp_path / "stack")
        public = f"http://127.0.0.1:{stack.ports.synapse}/"
        stack = Stack(tmp_path / "stack", stack.ports, homeserver=nova.homeserver(public))
        with stack:
            world = StackUnderTest(stack, tmp_path / "function", {"MATRIX_PRECREATE_USERS": "true"})
            world.start()
            try:
                ada, bob = new_user(), new_user()
                world.in_turn(profile(ada, "Ada Lovelace", 1), created(ada, "ada"))
                before = world.account(ada)
                assert before
                assert before["external_ids"] == [{"auth_provider": "oidc-nova", "external_id": ada}]
                assert login(stack.synapse.url, nova, ada) == mxid(ada)
                assert world.account(ada)["displayname"] == "Ada Lovelace"  # type: ignore[index]
                assert login(stack.synapse.url, nova, bob) == mxid(bob)
                tell(f"first login of a person made ahead: the same account, still called {before['displayname']}")
                world.in_turn(created(bob, "bobby"))
                assert world.account(bob)["displayname"] == "From the provider"  # type: ignore[index]
            finally:
                world.stop()
