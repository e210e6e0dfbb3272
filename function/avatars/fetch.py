"""Fetches an avatar from an https URL. URL and response are untrusted input.

Knows neither users nor Synapse; ssrf_guard.py checks where an image may come from, image_header.py what it is.
"""

import asyncio
import hashlib
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from function.avatars.image_header import read_image_info
from function.avatars.ssrf_guard import (
    BlockedAddress,
    Origin,
    allowed_origin,
    guarded_session,
    is_global,
    origin_of,
    parse_https_url,
)
from function.outcomes import Reason, Rejected

MAX_BYTES = 8 * 1024 * 1024
MAX_REDIRECTS = 3
SECONDS = 5.0  # for one fetch, redirects included
HOST_BACKOFF_SECONDS = 30.0  # no requests to a host after a failure: a dead host costs SECONDS once, not once an event
IN_FLIGHT = 8  # each may hold MAX_BYTES twice for a moment

_HEADERS = {
    "Accept": "image/png, image/jpeg, image/gif, image/webp",
    "Accept-Encoding": "identity",
    "User-Agent": "matrix-account-sync",
}
_DOWN = frozenset({429, 502, 503, 504})  # about the host; any other 5xx may be about this one image
_KEPT = re.compile(r"[\x20-\x7e]{1,256}")


@dataclass(frozen=True, slots=True)
class Validators:
    """Validators of an image, for a conditional request to the same URL."""

    sha256: str
    etag: str = ""
    last_modified: str = ""

    @property
    def conditions(self) -> dict[str, str]:
        """The request headers that make the fetch conditional."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}


@dataclass(frozen=True, slots=True)
class Image:
    """A new image; `content_type` is taken from the bytes, not from the response header."""

    content: bytes
    content_type: str
    width: int
    height: int
    known: Validators


@dataclass(frozen=True, slots=True)
class NotModified:
    """The image has not changed (304, or same SHA-256). `known` holds the validators for the next request."""

    known: Validators


class AvatarSource:
    """Fetches images from the allowed hosts. Must be created and closed within the event loop.

    Args:
        allowed_hosts: `host` for port 443, or `host:port`. None: nothing is fetched.
        tls: verifies the hosts' certificates.
        resolver: host name resolver (default: the system's). Not trusted: every address is checked before connecting.
        permitted: says which IP addresses may be connected to; only tests need another rule.
        clock, timeout: in seconds.

    Raises:
        ValueError: an entry is not a host, or `tls` does not verify certificates.
    """

    def __init__(
        self,
        allowed_hosts: frozenset[str],
        tls: ssl.SSLContext,
        *,
        resolver: AbstractResolver | None = None,
        permitted: Callable[[IPv4Address | IPv6Address], bool] = is_global,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = SECONDS,
    ) -> None:
        self._allowed = frozenset(allowed_origin(entry) for entry in allowed_hosts)
        self._clock, self._timeout = clock, timeout
        self._paused: dict[Origin, float] = {}
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._http = guarded_session(tls, resolver, permitted, _HEADERS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def fetch(self, address: str, known: Validators | None = None) -> Image | NotModified:
        """Fetches the image, unless it has not changed.

        Args:
            address: an https:// URL.
            known: from the last fetch of this same URL, never of another.

        Raises:
            Rejected: any failure, with an avatar reason; a host that is down must not block other events.
        """
        here = self._check_allowed(address)
        async with self._slots:
            return await self._follow(here, known)

    async def _follow(self, here: URL, known: Validators | None) -> Image | NotModified:
        """Follows redirects up to MAX_REDIRECTS.

        Validators belong to one URL, so they are sent to the first only, and kept only if that one had the image: the
        target of a redirect may be older and still new to us.
        """
        try:
            async with asyncio.timeout(self._timeout):
                for hop in range(1 + MAX_REDIRECTS):
                    answer = await self._ask(here, known, first=hop == 0)
                    if not isinstance(answer, URL):
                        return answer
                    here = answer
        except TimeoutError:
            raise self._mark_down(here, "no image in time") from None
        raise Rejected(Reason.AVATAR_REDIRECTS, f"more than {MAX_REDIRECTS}")

    async def _ask(self, here: URL, known: Validators | None, *, first: bool) -> Image | NotModified | URL:
        """Sends one request. Returns a URL if the answer is a redirect."""
        if self._clock() < self._paused.get(origin_of(here), 0.0):
            raise Rejected(Reason.AVATAR_UNAVAILABLE, "failed a moment ago")
        conditions = known.conditions if known and first else {}
        try:
            async with self._http.get(here, headers=conditions, allow_redirects=False) as response:
                if response.status in {301, 302, 303, 307, 308}:
                    return self._check_allowed(response.headers.get("Location", "about:blank"), here)
                if response.status == 200:
                    return await _image(response, known, first=first)
                if response.status == 304 and known and conditions:
                    etag, last_modified = _validators(response)
                    return NotModified(
                        Validators(known.sha256, etag or known.etag, last_modified or known.last_modified)
                    )
                if response.status in _DOWN:
                    raise self._mark_down(here, str(response.status))
                reason = Reason.AVATAR_UNAVAILABLE if response.status >= 500 else Reason.AVATAR_NOT_FOUND
                raise Rejected(reason, str(response.status))
        except (aiohttp.ClientConnectionError, OSError) as error:
            if isinstance(error.__cause__, BlockedAddress):
                raise Rejected(Reason.AVATAR_ADDRESS_REFUSED) from None
            raise self._mark_down(here, type(error).__name__) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise Rejected(Reason.AVATAR_UNAVAILABLE, type(error).__name__) from None

    def _check_allowed(self, address: str, here: URL | None = None) -> URL:
        """Returns the URL to request, first or as a redirect from `here`, if it is allowed; every hop passes here."""
        try:
            there = parse_https_url(here.join(URL(address)) if here else address)
        except ValueError:
            reason = Reason.AVATAR_REDIRECTS if here else Reason.AVATAR_INVALID
            raise Rejected(reason, "not an https address") from None
        if origin_of(there) not in self._allowed:
            reason = Reason.AVATAR_REDIRECTS if here else Reason.AVATAR_HOST_NOT_ALLOWED
            raise Rejected(reason, "not an allowed host")
        return there

    def _mark_down(self, here: URL, detail: str) -> Rejected:
        self._paused[origin_of(here)] = self._clock() + HOST_BACKOFF_SECONDS
        return Rejected(Reason.AVATAR_UNAVAILABLE, detail)


async def _image(response: aiohttp.ClientResponse, known: Validators | None, *, first: bool) -> Image | NotModified:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Rejected(Reason.AVATAR_NOT_AN_IMAGE, "has a Content-Encoding")
    if (response.content_length or 0) > MAX_BYTES:
        raise Rejected(Reason.AVATAR_TOO_LARGE, f"over {MAX_BYTES} bytes")
    body, digest = bytearray(), hashlib.sha256()
    async for chunk in response.content.iter_any():
        body += chunk
        digest.update(chunk)
        if len(body) > MAX_BYTES:
            raise Rejected(Reason.AVATAR_TOO_LARGE, f"over {MAX_BYTES} bytes")
    now = Validators(digest.hexdigest(), *(_validators(response) if first else ()))
    if known and known.sha256 == now.sha256:
        return NotModified(now)
    content = bytes(body)
    picture = read_image_info(content)
    return Image(content, picture.content_type, picture.width, picture.height, now)


def _validators(response: aiohttp.ClientResponse) -> tuple[str, str]:
    """Returns ETag and Last-Modified; "" if the header is missing or can't be stored and sent again."""
    etag, last_modified = (response.headers.get(name, "") for name in ("ETag", "Last-Modified"))
    return etag if _KEPT.fullmatch(etag) else "", last_modified if _KEPT.fullmatch(last_modified) else ""
