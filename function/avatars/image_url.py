"""Reads the URL of an image. Pure.

A URL is often signed over its very characters (S3, Google Cloud Storage, CloudFront), so nothing in its path or query is
rewritten: neither percent escapes nor dot segments. Host and port are read once; the request is made with what was read.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Self
from urllib.parse import quote_from_bytes

from yarl import URL

MAX_URL_BYTES = 8192  # a signed URL has 500 to 3,000; hosts refuse over 8 KiB
HTTPS_PORT = 443

Origin = tuple[str, int]  # a host in lower case, in its ASCII form, without a trailing dot; and a port

# Refused: a backslash before the query, which some readers take for a slash.
_URL = re.compile(r"https://(?P<authority>[^/?#\\]+)(?P<path>/[^?#\\]*)?(?P<query>\?[^#]*)?(?:#.*)?", re.IGNORECASE)
# No user, no percent escape, no zone of an IPv6 address.
_AUTHORITY = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s@:%\[\]]+))(?::(?P<port>[0-9]{0,5}))?")
_HOST = re.compile(r"[a-z0-9._\-]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_DOTS = re.compile(r"(\.\.?)(?:/|(?=[?#])|$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNSENDABLE = re.compile(r"[^\x21-\x7e]+")  # in a request line


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """An https URL; `target` is its path and query as they are sent, beginning with a slash."""

    host: str
    port: int
    target: str

    @property
    def origin(self) -> Origin:
        """Host and port, to be compared with the allow list."""
        return self.host, self.port

    @property
    def request_url(self) -> URL:
        """The URL for aiohttp, which sends the target unchanged.

        The query is part of yarl's path, because yarl drops a query that is empty.
        """
        return URL.build(scheme="https", authority=self._authority, path=self.target, encoded=True)

    def redirected(self, location: str) -> Self:
        """Returns the URL of a redirect from this one: absolute or relative (RFC 3986, section 5.2).

        Dot segments at the start of a relative path say where it begins and are resolved; any others stay.

        Raises:
            ValueError: as `parse`, or not another URL.
        """
        return type(self).parse(self._absolute(location))

    def _absolute(self, location: str) -> str:
        if _SCHEME.match(location):
            return location
        if location.startswith("//"):
            return f"https:{location}"
        here, path = f"https://{self._authority}", self.target.partition("?")[0]
        if location.startswith("/"):
            return here + location
        if location.startswith("?"):
            return here + path + location
        if not location or location.startswith("#"):
            raise ValueError("the redirect leads to the same URL")
        return here + _joined(path, location)

    @property
    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"

    @classmethod
    def parse(cls, address: str) -> Self:
        """Reads an absolute https URL. The fragment is dropped, and only what no request line can hold is percent-encoded.

        Raises:
            ValueError: not https, no host, credentials, a control character, or over MAX_URL_BYTES. The error's text may
                contain the URL.
        """
        if len(_utf8(address)) > MAX_URL_BYTES or _CONTROL.search(address):
            raise ValueError("expected a URL without control characters and of limited length")
        url = _URL.fullmatch(address)
        if not url:
            raise ValueError("expected https:// and a host")
        host, port = _origin(url["authority"])
        target = (url["path"] or "/") + (url["query"] or "")
        return cls(host, port, _UNSENDABLE.sub(lambda found: quote_from_bytes(_utf8(found[0])), target))


def _origin(authority: str) -> Origin:
    parts = _AUTHORITY.fullmatch(authority)
    if not parts:
        raise ValueError("expected a host and perhaps a port, without credentials")
    port = int(parts["port"] or HTTPS_PORT)
    if not 0 < port < 0x10000:
        raise ValueError("no such port")
    return (str(IPv6Address(parts["ipv6"])) if parts["ipv6"] else _name(parts["name"])), port


def _name(written: str) -> str:
    """Returns a host name, or an IPv4 address, in its ASCII form (IDNA)."""
    name = (URL(f"https://{written}/").raw_host or "").removesuffix(".")
    if not _HOST.fullmatch(name):
        raise ValueError("not a host name")
    return name


def _joined(path: str, relative: str) -> str:
    """Returns the path that `relative` means next to `path`."""
    folder = path[: path.rindex("/") + 1]
    while dots := _DOTS.match(relative):
        relative = relative[dots.end() :]
        if dots[1] == "..":
            folder = folder[: folder[:-1].rfind("/") + 1] or "/"
    return folder + relative


def _utf8(text: str) -> bytes:
    """Returns the bytes of a text; those of a header that were not UTF-8 stand in it as surrogates."""
    return text.encode("utf-8", "surrogateescape")
