"""Calls a MAS and the Synapse behind it, without the client of this project: plain requests, plain answers."""

import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from dev.processes import free_port, wait_until
from dev.servers.mas import DelegatingSynapse, Mas

API = "/api/admin/v1"
NO_SUCH_USER = "01ARZ3NDEKTSV4RRFFQ69G5FAV"  # a ULID of no one
SYNAPSE_ADMIN = "urn:matrix:client:api:* urn:synapse:admin:*"
JOB_SECONDS = 30  # a job takes 0.1 to 0.2 s; a busy machine needs more


@dataclass(frozen=True)
class Person:
    """A user of MAS who can log in by password."""

    id: str
    localpart: str
    mxid: str
    password: str


@dataclass(frozen=True)
class Login:
    token: str
    device: str


class Server:
    """One MAS and its Synapse.

    Args:
        url: MAS's address.
        synapse_url: Synapse's.
        client: id and secret of a client that may have `urn:mas:admin`.
        provider: id of an upstream provider.
        stand_in: has the controls; None for a real MAS.
        running_synapse: can be stopped, if it is the suite's own.
    """

    def __init__(
        self, url: str, synapse_url: str, client: tuple[str, str], provider: str,
        stand_in: Mas | None = None, running_synapse: DelegatingSynapse | None = None,
    ) -> None:  # fmt: skip
        self.client, self.provider, self.stand_in, self.running_synapse = client, provider, stand_in, running_synapse
        self.mas = httpx.Client(base_url=url, timeout=30)
        self.homeserver = httpx.Client(base_url=synapse_url, timeout=30)
        self.token = str(self.grant("urn:mas:admin").json()["access_token"])
        self.server_name = str(self.admin("GET", "site-config").json()["server_name"])
        self.synapse_token = self.personal(self.create()["id"], SYNAPSE_ADMIN)["access_token"]

    def reset(self) -> None:
        """Lets the stand-in work again as at its start; users and sessions stay."""
        assert self.stand_in
        self.stand_in.control("PUT", "jobs", {})
        self.stand_in.control("DELETE", "faults")
        client = {"secret": self.stand_in.client_secret, "admin": True, "token_seconds": 300}
        self.stand_in.control("PUT", "client", client)

    def close(self) -> None:
        self.mas.close()
        self.homeserver.close()

    def grant(self, scope: str, client: tuple[str, str] | None = None) -> httpx.Response:
        """Asks for a token by the client credentials grant."""
        form = {"grant_type": "client_credentials", "scope": scope}
        return self.mas.post("/oauth2/token", data=form, auth=client or self.client)

    def admin(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Calls the admin API. A real MAS ends a token after 5 minutes, so a refused one is replaced."""
        answer = self._admin(method, path, body)
        if answer.status_code == 401:
            self.token = str(self.grant("urn:mas:admin").json()["access_token"])
            answer = self._admin(method, path, body)
        return answer

    def _admin(self, method: str, path: str, body: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.mas.request(method, f"{API}/{path}", json=body, headers=headers)

    def synapse(self, method: str, path: str, body: object = None, token: str = "") -> httpx.Response:
        """Calls Synapse with an admin's token, or another."""
        headers = {"Authorization": f"Bearer {token or self.synapse_token}"}
        return self.homeserver.request(method, path, json=body, headers=headers)

    def create(self, localpart: str = "", **more: object) -> dict[str, Any]:
        """Creates a user; returns its id and attributes."""
        answer = self.admin("POST", "users", {"username": localpart or new_localpart(), **more})
        assert answer.status_code == 201, answer.text
        return attributes(answer)

    def person(self, localpart: str = "") -> Person:
        made, password = self.create(localpart, displayname="Ada"), secrets.token_hex(16)
        answer = self.admin("POST", f"users/{made['id']}/set-password", {"password": password})
        assert answer.status_code == 204, answer.text
        return Person(made["id"], made["username"], f"@{made['username']}:{self.server_name}", password)

    def try_login(self, person: Person) -> httpx.Response:
        who = {"type": "m.id.user", "user": person.localpart}
        body = {"type": "m.login.password", "identifier": who, "password": person.password}
        return self.mas.post("/_matrix/client/v3/login", json=body)

    def log_in(self, person: Person) -> Login:
        answer = self.try_login(person)
        assert answer.status_code == 200, answer.text
        return Login(answer.json()["access_token"], answer.json()["device_id"])

    def log_out(self, login: Login) -> None:
        headers = {"Authorization": f"Bearer {login.token}"}
        self.mas.post("/_matrix/client/v3/logout", headers=headers).raise_for_status()

    def works(self, token: str) -> bool:
        """Whether Synapse takes the token."""
        answer = self._look("/_matrix/client/v3/account/whoami", token)
        assert answer.status_code in {200, 401}, answer.text
        return answer.status_code == 200

    def _look(self, path: str, token: str = "") -> httpx.Response:
        """Asks Synapse until it knows whose token that is: while MAS is too slow for it, it answers 503."""
        answers: list[httpx.Response] = []

        def told() -> bool:
            answers.append(self.synapse("GET", path, token=token))
            return answers[-1].status_code != 503

        soon(told)
        return answers[-1]

    def account(self, mxid: str) -> dict[str, Any]:
        """Returns what Synapse has of an account; empty if it has none."""
        answer = self._look(f"/_synapse/admin/v2/users/{quote(mxid)}")
        return {} if answer.status_code == 404 else dict(answer.raise_for_status().json())

    def user(self, localpart: str) -> dict[str, Any]:
        """Returns what MAS has of a user; empty if it has none."""
        answer = self.admin("GET", f"users/by-username/{quote(localpart, safe='')}")
        return {} if answer.status_code == 404 else attributes(answer.raise_for_status())

    def delete_devices(self, mxid: str, *devices: str) -> None:
        path = f"/_synapse/admin/v2/users/{quote(mxid)}/delete_devices"
        self.synapse("POST", path, {"devices": devices}).raise_for_status()

    def devices(self, mxid: str) -> list[str]:
        answer = self._look(f"/_synapse/admin/v2/users/{quote(mxid)}/devices").raise_for_status()
        return [one["device_id"] for one in answer.json()["devices"]]

    def personal(self, user_id: str, scope: str) -> dict[str, Any]:
        """Makes a personal session; returns its id and attributes, the token among them."""
        body = {"actor_user_id": user_id, "human_name": "contract suite", "scope": scope, "expires_in": 3600}
        answer = self.admin("POST", "personal-sessions", body)
        assert answer.status_code == 201, answer.text
        return attributes(answer)

    def sessions(self, kind: str, user_id: str, query: str = "filter[status]=active") -> list[dict[str, Any]]:
        answer = self.admin("GET", f"{kind}-sessions?filter[user]={user_id}&{query}").raise_for_status()
        return [row["attributes"] | {"id": row["id"]} for row in answer.json()["data"]]


@contextmanager
def on_stand_in(folder: Path) -> Iterator[Server]:
    """Runs the stand-in, and a real Synapse whose accounts it owns."""
    port = free_port()
    mas = Mas(folder, free_port(), f"http://127.0.0.1:{port}")
    synapse = DelegatingSynapse(folder, port, None, mas)
    try:
        mas.start()
        synapse.start()
        provider = mas.control("POST", "providers", {"human_name": "Nova"})["id"]
        server = Server(mas.url, synapse.url, (mas.client_id, mas.client_secret), provider, mas, synapse)
        yield server
        server.close()
    finally:
        synapse.stop()
        mas.stop()


def new_localpart() -> str:
    return f"nova-{uuid.uuid4()}"


def attributes(answer: httpx.Response) -> dict[str, Any]:
    """Returns the attributes of the one resource in the answer, and its id."""
    data: dict[str, Any] = answer.json()["data"]
    return {"id": data["id"], **data["attributes"]}


def title(answer: httpx.Response) -> str:
    """Returns the title of the one error in the answer."""
    (error,) = answer.json()["errors"]
    return str(error["title"])


def soon(condition: Callable[[], bool]) -> bool:
    """Whether the condition holds within the time that a job needs."""
    return wait_until(condition, JOB_SECONDS)
