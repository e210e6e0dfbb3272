"""Runs the stand-in for Matrix Authentication Service, and a Synapse whose accounts it owns: loopback only."""

import json
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from dev.processes import Server
from dev.servers.mas_stand_in.state import CLIENT_API, MAS_ADMIN, SYNAPSE_ADMIN, State
from dev.servers.postgres import Postgres
from dev.servers.synapse import ADMIN, ADMIN_ID, SERVER_NAME, Synapse, write_private

_ROOT = Path(__file__).resolve().parents[2]


class Mas:
    """The stand-in. It keeps its state over a stop, but not over a kill; the client is that of an earlier run in the folder.

    Args:
        folder: for configuration, log and pid file.
        port: on loopback.
        homeserver: Synapse's address.
        token_seconds: how long a token of the client lives.
    """

    def __init__(self, folder: Path, port: int, homeserver: str, token_seconds: int = 300) -> None:
        self.port, self._homeserver, self._token_seconds = port, homeserver, token_seconds
        self.server = Server("mas", folder)
        self._config = folder / "mas.json"
        kept = json.loads(self._config.read_text()) if self._config.exists() else {}
        self.client_id = kept.get("client_id") or State().new_id()
        self.client_secret = kept.get("client_secret") or secrets.token_hex(16)
        self.shared_secret = kept.get("secret") or secrets.token_hex(16)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def homeserver_config(self) -> dict[str, Any]:
        """The keys of homeserver.yaml by which Synapse gives its accounts to MAS."""
        block = {"enabled": True, "endpoint": f"{self.url}/", "secret": self.shared_secret}
        return {"matrix_authentication_service": block, "password_config": {"enabled": False}}

    def start(self) -> None:
        if not self.server.running():
            self._config.parent.mkdir(parents=True, exist_ok=True)
            write_private(self._config, json.dumps({
                "issuer": self.url, "homeserver": self._homeserver, "secret": self.shared_secret,
                "client_id": self.client_id, "client_secret": self.client_secret, "server_name": SERVER_NAME,
                "token_seconds": self._token_seconds, "file": str(self._config.with_suffix(".state")),
            }))  # fmt: skip
            module = [sys.executable, "-m", "dev.servers.mas_stand_in"]
            self.server.start([*module, str(self._config), str(self.port)], cwd=_ROOT)
        self.server.wait_ready(self._answers, 30)

    def stop(self, *, kill: bool = False) -> None:
        self.server.stop(kill=kill)

    def token(self, scope: str = MAS_ADMIN) -> str:
        """A new token of the client."""
        form = {"grant_type": "client_credentials", "scope": scope}
        answer = httpx.post(f"{self.url}/oauth2/token", data=form, auth=(self.client_id, self.client_secret))
        token: str = answer.raise_for_status().json()["access_token"]
        return token

    def admin(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """One call of the admin API, such as `admin("GET", "users")`."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        return httpx.request(method, f"{self.url}/api/admin/v1/{path}", json=body, headers=headers, timeout=30)

    def admin_client(self) -> httpx.Client:
        """A client of the admin API for many calls, until its token ends."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        return httpx.Client(base_url=f"{self.url}/api/admin/v1/", headers=headers, timeout=30)

    def control(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One call of `/stand-in/...`; returns its answer."""
        return httpx.request(method, f"{self.url}/stand-in/{path}", json=body, timeout=30).raise_for_status().json()

    def user(self, localpart: str) -> dict[str, Any] | None:
        """The attributes of a user, with its id; None when there is none."""
        answer = self.admin("GET", f"users/by-username/{quote(localpart, safe='')}")
        if answer.status_code == 404:
            return None
        found: dict[str, Any] = answer.raise_for_status().json()["data"]
        return {"id": found["id"], **found["attributes"]}

    def admin_token(self, localpart: str) -> str:
        """A token for Synapse's admin API that does not end; creates the user if there is none."""
        user = self.user(localpart)
        key = user["id"] if user else self.admin("POST", "users", {"username": localpart}).json()["data"]["id"]
        body = {"actor_user_id": key, "human_name": "local stack", "scope": f"{CLIENT_API} {SYNAPSE_ADMIN}"}
        made = self.admin("POST", "personal-sessions", body).raise_for_status()
        token: str = made.json()["data"]["attributes"]["access_token"]
        return token

    def login(self, user: str, password: str) -> httpx.Response:
        """The answer to a login by password, which MAS gives in Synapse's place."""
        body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user}, "password": password}
        return httpx.post(f"{self.url}/_matrix/client/v3/login", json=body, timeout=30)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/stand-in/health", timeout=1).status_code == 200
        except httpx.HTTPError:
            return False


class DelegatingSynapse(Synapse):
    """A Synapse whose accounts `mas` owns. `mas` must run before it starts."""

    def __init__(self, folder: Path, port: int, postgres: Postgres | None, mas: Mas) -> None:
        super().__init__(folder, port, postgres, mas.homeserver_config)
        self._mas = mas

    def create(self, mxid: str, name: str = "", password: str = "") -> None:
        """Creates an account at MAS, which creates it here. Without a password no one can log in."""
        localpart = mxid.removeprefix("@").partition(":")[0]
        body = {"username": localpart, "displayname": name, "password": password or secrets.token_hex(16)}
        self._mas.control("POST", "users", body)

    def login(self, user: str, password: str) -> str:
        token: str = self._mas.login(user, password).raise_for_status().json()["access_token"]
        return token

    def _make_admin(self) -> None:
        """Creates the admin account at MAS and keeps a token of a personal session."""
        token = self._mas.admin_token(ADMIN)
        limit = f"/_synapse/admin/v1/users/{quote(ADMIN_ID)}/override_ratelimit"
        self.admin("POST", limit, {"messages_per_second": 0, "burst_count": 0}, token).raise_for_status()
        write_private(self.token_file, token)
