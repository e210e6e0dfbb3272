"""Serves `upstream-oauth-links` and `upstream-oauth-providers`: which account elsewhere logs in as which user."""

from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dev.servers.mas_stand_in.admin.access import find, read
from dev.servers.mas_stand_in.admin.listing import page, ulid_filter
from dev.servers.mas_stand_in.answers import Refused, resource, single
from dev.servers.mas_stand_in.state import Link, Provider, State

_PROVIDER = "Upstream OAuth 2.0 Provider ID"


class Links:
    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> Iterator[Route]:
        yield Route("/upstream-oauth-links", self._list, methods=["GET"])
        yield Route("/upstream-oauth-links", self._add, methods=["POST"])
        yield Route("/upstream-oauth-links/{id}", self._delete, methods=["DELETE"])
        yield Route("/upstream-oauth-providers", self._list_providers)
        yield Route("/upstream-oauth-providers/{id}", self._get_provider)

    async def _list(self, request: Request) -> Response:
        user = ulid_filter(request, "user", self._state.users, "User ID")
        provider = ulid_filter(request, "provider", self._state.providers, _PROVIDER)
        subject = request.query_params.get("filter[subject]")
        rows = [one for one in self._state.links.values() if user in {None, one.user_id}
                and provider in {None, one.provider_id} and subject in {None, one.subject}]  # fmt: skip
        return page(request, rows, _shown)

    async def _add(self, request: Request) -> Response:
        values = await read(request)
        user_id, provider_id, subject = values["user_id"].upper(), values["provider_id"].upper(), values["subject"]
        if user_id not in self._state.users:
            raise Refused(404, f"User ID {user_id} not found")
        if provider_id not in self._state.providers:
            raise Refused(404, f"{_PROVIDER} {provider_id} not found")
        link = self._of(provider_id, subject)
        if link and link.user_id:
            raise Refused(409, f"Upstream Oauth 2.0 Provider ID {provider_id} with subject {subject} "
                               "is already linked to a user")  # fmt: skip
        status = 200 if link else 201
        link = link or Link(self._state.new_id(), provider_id, subject, self._state.clock())
        link.user_id, link.human_account_name = user_id, values.get("human_account_name")
        self._state.links[link.id] = link
        return single(request, _shown(link), status)

    async def _delete(self, request: Request) -> Response:
        link = find(request, self._state.links, "Upstream OAuth 2.0 Link ID")
        del self._state.links[link.id]
        return Response(status_code=204)

    async def _list_providers(self, request: Request) -> Response:
        return page(request, self._state.providers.values(), _shown_provider)

    async def _get_provider(self, request: Request) -> Response:
        return single(request, _shown_provider(find(request, self._state.providers, _PROVIDER)))

    def _of(self, provider_id: str, subject: str) -> Link | None:
        rows = self._state.links.values()
        return next((one for one in rows if (one.provider_id, one.subject) == (provider_id, subject)), None)


def _shown(link: Link) -> dict[str, Any]:
    return resource("upstream-oauth-link", link.id, {
        "created_at": link.created_at, "provider_id": link.provider_id, "subject": link.subject,
        "user_id": link.user_id, "human_account_name": link.human_account_name,
    })  # fmt: skip


def _shown_provider(provider: Provider) -> dict[str, Any]:
    return resource("upstream-oauth-provider", provider.id, {
        "issuer": None, "human_name": provider.human_name, "brand_name": None, "created_at": provider.created_at,
        "disabled_at": None, "registration_token_required": False,
    })  # fmt: skip
