"""Runs Synapse for the local stack: loopback only, with an admin account that has a token and no rate limit."""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import yaml

from dev.processes import Server
from dev.servers.postgres import Postgres
from dev.steps import Say
from dev.toolchain import synapse_python

SERVER_NAME = "staging.nova.app"
ADMIN = "nova-service"
ADMIN_ID = f"@{ADMIN}:{SERVER_NAME}"


class Synapse:
    """The homeserver.

    Args:
        folder: for configuration, data, log and pid file.
        port: on loopback.
        postgres: its database; SQLite when None.
        more: further keys of homeserver.yaml.
    """

    def __init__(
        self, folder: Path, port: int, postgres: Postgres | None, more: Mapping[str, Any] | None = None
    ) -> None:
        self.port, self._more = port, dict(more or {})
        self.server = Server("synapse", folder)
        self._home, self._postgres = folder / "synapse", postgres
        self._python: Path | None = None
        self.token_file = folder / "admin.token"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return self.token_file.read_text().strip()

    def start(self, say: Say = print) -> None:
        """Starts the server on the data that is there; makes the admin account at the first time."""
        if not self.server.running():
            self._python = synapse_python(say)
            config = self._configure()
            self.server.start([str(self._python), "-m", "synapse.app.homeserver", "-c", str(config)], cwd=self._home)
        self.server.wait_ready(self._answers, 90)
        if not self.token_file.exists():
            self._make_admin()

    def stop(self, *, kill: bool = False) -> None:
        self.server.stop(kill=kill)

    def admin(self, method: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> httpx.Response:
        """One call with the admin's token (or another)."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.request(method, f"{self.url}{path}", json=body, headers=headers, timeout=30)

    def create(self, mxid: str, name: str = "", password: str = "") -> None:
        """Creates an account."""
        body = {"displayname": name} | ({"password": password} if password else {})
        self.admin("PUT", f"/_synapse/admin/v2/users/{quote(mxid)}", body).raise_for_status()

    def account(self, mxid: str) -> dict[str, Any] | None:
        """What the admin API says of an account; None when there is none."""
        response = self.admin("GET", f"/_synapse/admin/v2/users/{quote(mxid)}")
        if response.status_code == 404:
            return None
        found: dict[str, Any] = response.raise_for_status().json()
        return found

    def login(self, user: str, password: str) -> str:
        """A new access token."""
        body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user}, "password": password}
        response = httpx.post(f"{self.url}/_matrix/client/v3/login", json=body, timeout=30)
        token: str = response.raise_for_status().json()["access_token"]
        return token

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=1).status_code == 200
        except httpx.HTTPError:
            return False

    def _configure(self) -> Path:
        """Writes homeserver.yaml once: its secrets stay the same over restarts."""
        config = self._home / "homeserver.yaml"
        if config.exists():
            return config
        self._home.mkdir(parents=True, exist_ok=True)
        sqlite = {"name": "sqlite3", "args": {"database": str(self._home / "homeserver.db")}}
        config.write_text(yaml.safe_dump({
            "server_name": SERVER_NAME,
            "listeners": [{"type": "http", "port": self.port, "bind_addresses": ["127.0.0.1"], "tls": False,
                           "resources": [{"names": ["client", "media"]}]}],
            "database": self._psycopg() if self._postgres else sqlite,
            "media_store_path": str(self._home / "media"),
            "signing_key_path": str(self._home / "signing.key"),
            "registration_shared_secret": secrets.token_hex(16),
            "macaroon_secret_key": secrets.token_hex(16),
            "form_secret": secrets.token_hex(16),
            # Nothing outside loopback: no key servers, no federation, no statistics.
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "federation_domain_whitelist": [],
            "report_stats": False,
            # Until the indexes of a new database exist, accounts can't be reactivated; by default with pauses of a second.
            "background_updates": {"sleep_enabled": False},
        } | self._more))  # fmt: skip
        config.chmod(0o600)
        # As Synapse writes it; to have Synapse do it takes another start of the whole program.
        key = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        write_private(self._home / "signing.key", f"ed25519 a_{secrets.token_hex(2)} {key}\n")
        return config

    def _psycopg(self) -> dict[str, Any]:
        assert self._postgres
        arguments = {"user": "synapse", "dbname": "synapse", "host": "127.0.0.1", "port": self._postgres.port}
        return {"name": "psycopg2", "args": arguments | {"cp_min": 2, "cp_max": 5}}

    def _make_admin(self) -> None:
        """Registers the admin account with the configuration's shared secret, and keeps its token."""
        url, password = f"{self.url}/_synapse/admin/v1/register", secrets.token_hex(16)
        nonce = httpx.get(url, timeout=30).raise_for_status().json()["nonce"]
        secret = yaml.safe_load((self._home / "homeserver.yaml").read_text())["registration_shared_secret"]
        words = f"{nonce}\0{ADMIN}\0{password}\0admin"
        mac = hmac.new(secret.encode(), words.encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": ADMIN, "password": password, "admin": True, "mac": mac}
        token = httpx.post(url, json=body, timeout=30).raise_for_status().json()["access_token"]
        limit = f"/_synapse/admin/v1/users/{quote(ADMIN_ID)}/override_ratelimit"
        self.admin("POST", limit, {"messages_per_second": 0, "burst_count": 0}, token).raise_for_status()
        write_private(self.token_file, token)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, from its creation on."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def secrets_file(path: Path, token: str) -> None:
    """Writes the secrets of a function that has an admin token."""
    write_secret(path, {"MATRIX_ADMIN_TOKEN": token})


def write_secret(path: Path, keys: Mapping[str, str]) -> None:
    """Writes the file of Dapr's local.file secret store, shaped like a Kubernetes Secret: a name with keys."""
    write_private(path, json.dumps({"realtime-chat-service-secret": keys}))
