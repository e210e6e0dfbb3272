"""Puts the stand-in together: one ASGI app, over one state, before one homeserver."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount, Router
from starlette.types import ASGIApp

from dev.servers.mas_stand_in.admin.access import Access
from dev.servers.mas_stand_in.admin.links import Links
from dev.servers.mas_stand_in.admin.personal_sessions import PersonalSessions
from dev.servers.mas_stand_in.admin.server_info import ServerInfo
from dev.servers.mas_stand_in.admin.sessions import Sessions
from dev.servers.mas_stand_in.admin.users import Users
from dev.servers.mas_stand_in.answers import API, Refused, refused
from dev.servers.mas_stand_in.controls import Controls
from dev.servers.mas_stand_in.gate import Gate
from dev.servers.mas_stand_in.homeserver import Homeserver
from dev.servers.mas_stand_in.jobs import Jobs
from dev.servers.mas_stand_in.login import Login
from dev.servers.mas_stand_in.memory import load, save
from dev.servers.mas_stand_in.oauth import Client, OAuth
from dev.servers.mas_stand_in.state import Config, State


def open_app(config: Config, transport: httpx.AsyncBaseTransport | None = None, state: State | None = None) -> ASGIApp:
    """Returns the app.

    Args:
        config: the deployment's.
        transport: reaches the homeserver; over the network if None.
        state: to begin with, and to look at; that of the last run, or an empty one, if None.
    """
    http = httpx.AsyncClient(base_url=config.homeserver, transport=transport, timeout=30)
    state, left = (state, []) if state else load(config.file)
    homeserver = Homeserver(http, config.secret)
    jobs = Jobs(state, homeserver, queued=left)
    client = Client(config.client_id, config.client_secret, config.token_seconds)
    users = Users(state, homeserver, jobs)
    controls = Controls(state, homeserver, jobs, users, client)
    parts = (users, Sessions(state, jobs, client.id), Links(state), PersonalSessions(state, client.id),
             ServerInfo(config.server_name))  # fmt: skip
    admin = Access(Router([route for part in parts for route in part.routes()]), state)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        jobs.go_on()
        yield
        await jobs.stop()
        save(config.file, state, jobs.queued)
        await http.aclose()

    login = Login(state, homeserver, jobs, config.server_name)
    routes = [Mount(API, admin), *OAuth(state, config, client).routes(), *login.routes(), *controls.routes()]
    gate = Gate(Starlette(routes=routes, exception_handlers={Refused: refused}, lifespan=lifespan))
    controls.gate = gate
    return gate
