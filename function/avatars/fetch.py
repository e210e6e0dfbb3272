"""Fetches an avatar from an https URL. URL and response are untrusted input.

Knows neither users nor Synapse; ssrf_guard.py checks where an image may come from, host_limits.py when, image_header.py
what it is.
"""

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver

from function.avatars.host_limits import HostLimits
from function.avatars.image_header import read_image_info
from function.avatars.image_url import ImageUrl
from function.avatars.ssrf_guard import BlockedAddress, allowed_origin, guarded_session, is_global
from function.outcomes import Reason, Rejected

MAX_BYTES = 8 * 1024 * 1024
MAX_REDIRECTS = 3
SECONDS = 5.0  # for one fetch, redirects included; not the time that it waits for other fetches

_HEADERS = {
    "Accept": "image/png, image/jpeg, image/gif, image/webp",
    "Accept-Encoding": "identity",
    "User-Agent": "matrix-account-sync",
}
_DOWN = frozenset({429, 502, 503, 504})  # about the host; any other 5xx may be about this one image
_PLAIN = frozenset(
    {"", "identity", "aws-chunked"}
)  # the last is S3's upload format, which some stores keep as metadata
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
        resolver: host name resolver (default: the system's, on threads of its own). Not trusted: every address is checked before connecting.
        permitted: says which IP addresses may be connected to; only tests need another rule.
        clock: in seconds (default: the event loop's).
        timeout: in seconds.

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
        clock: Callable[[], float] | None = None,
        timeout: float = SECONDS,
    ) -> None:
        self._allowed = frozenset(allowed_origin(entry) for entry in allowed_hosts)
        self._timeout = timeout
        self._limits = HostLimits(clock or asyncio.get_running_loop().time)
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
        here, left = self._check_allowed(address), self._timeout
        for hop in range(1 + MAX_REDIRECTS):
            async with self._limits.slot(here.origin):
                answer, left = await self._in_time(here, known, left, first=hop == 0)
            if not isinstance(answer, ImageUrl):
                return answer
            here = answer
        raise Rejected(Reason.AVATAR_REDIRECTS, f"more than {MAX_REDIRECTS}")

    async def _in_time(
        self, here: ImageUrl, known: Validators | None, left: float, *, first: bool
    ) -> tuple[Image | NotModified | ImageUrl, float]:
        """Sends one request, with `left` seconds; returns its answer and the seconds that are left then."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with asyncio.timeout(left):
                answer = await self._ask(here, known, first=first)
        except TimeoutError:
            if left < self._timeout / 2:  # the redirecting hosts took the time, which is counted for them
                raise Rejected(Reason.AVATAR_UNAVAILABLE, "no image in time") from None
            raise self._limits.fail(here.origin, "no image in time") from None
        return answer, left - (loop.time() - begun)

    async def _ask(self, here: ImageUrl, known: Validators | None, *, first: bool) -> Image | NotModified | ImageUrl:
        """Sends one request. Returns a URL if the answer is a redirect.

        Validators belong to one URL, so they are sent to the first only, and kept only if that one had the image: the
        target of a redirect may be older and still new to us.
        """
        conditions = known.conditions if known and first else {}
        try:
            async with self._http.get(here.request_url, headers=conditions, allow_redirects=False) as response:
                if response.status in {301, 302, 303, 307, 308}:
                    return self._check_allowed(response.headers.get("Location", ""), here)
                if response.status == 200:
                    return await _image(response, known, first=first)
                if response.status == 304 and known and conditions:
                    etag, last_modified = _validators(response)
                    return NotModified(
                        Validators(known.sha256, etag or known.etag, last_modified or known.last_modified)
                    )
                if response.status in _DOWN:
                    raise self._limits.fail(here.origin, str(response.status))
                reason = Reason.AVATAR_UNAVAILABLE if response.status >= 500 else Reason.AVATAR_NOT_FOUND
                raise Rejected(reason, str(response.status))
        except (aiohttp.ClientConnectionError, OSError) as error:
            if isinstance(error.__cause__, BlockedAddress):
                raise Rejected(Reason.AVATAR_ADDRESS_REFUSED) from None
            raise self._limits.fail(here.origin, type(error).__name__) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise Rejected(Reason.AVATAR_UNAVAILABLE, type(error).__name__) from None

    def _check_allowed(self, address: str, here: ImageUrl | None = None) -> ImageUrl:
        """Returns the URL to request, first or as a redirect from `here`, if it is allowed; every hop passes here."""
        try:
            there = here.redirected(address) if here else ImageUrl.parse(address)
        except ValueError:
            reason = Reason.AVATAR_REDIRECTS if here else Reason.AVATAR_INVALID
            raise Rejected(reason, "not an https address") from None
        if there.origin not in self._allowed:
            reason = Reason.AVATAR_REDIRECTS if here else Reason.AVATAR_HOST_NOT_ALLOWED
            raise Rejected(reason, "not an allowed host")
        return there


async def _image(response: aiohttp.ClientResponse, known: Validators | None, *, first: bool) -> Image | NotModified:
    if not _is_plain(response.headers.getall("Content-Encoding", [])):
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


def _is_plain(codings: Sequence[str]) -> bool:
    """Returns whether Content-Encoding headers leave the bytes as they are: what is compressed is never unpacked."""
    return all(coding.strip().lower() in _PLAIN for header in codings for coding in header.split(","))


def _validators(response: aiohttp.ClientResponse) -> tuple[str, str]:
    """Returns ETag and Last-Modified; "" if the header is missing or can't be stored and sent again."""
    etag, last_modified = (response.headers.get(name, "") for name in ("ETag", "Last-Modified"))
    return etag if _KEPT.fullmatch(etag) else "", last_modified if _KEPT.fullmatch(last_modified) else ""
