"""SSRF guard for URLs supplied by users: which hosts and IP addresses may be contacted, and an aiohttp session that enforces it.

URLs are parsed once, by image_url.py: the request is made with what was checked. Sockets are created in one place, which
checks the IP address that is connected to next. So it does not matter what a name resolved to before, or later.
"""

import re
import socket
import ssl
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import aiohttp
from aiohttp.abc import AbstractResolver

from function.avatars.image_url import MAX_URL_BYTES, ImageUrl, Origin
from function.avatars.resolver import ThreadPerNameResolver

_ENTRY = re.compile(r"[^\s/?#@*\\]+")
_UNICAST, _NAT64 = ip_network("2000::/3"), ip_network("64:ff9b::/96")
_BLOCKED = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's own services, on every virtual machine
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # protocol assignments; Teredo, which embeds an IPv4 address
        "2002::/16",  # 6to4, likewise
        "3fff::/20",  # documentation
    )
)


def is_global(address: IPv4Address | IPv6Address) -> bool:
    """Returns whether the address is a public one.

    Not private, loopback, link-local, shared (CGNAT), multicast, reserved or for documentation, and no IPv6 form of an IPv4
    address, except NAT64 of a public one, which some networks need.
    """
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_global(IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _BLOCKED)


def allowed_origin(entry: str) -> Origin:
    """Returns the origin that an entry of the allow list means: `host` for port 443, or `host:port`, IPv6 in brackets.

    Raises:
        ValueError: the entry is neither; there are no wildcards.
    """
    if not _ENTRY.fullmatch(entry):
        raise ValueError("expected a host, or host:port")
    return ImageUrl.parse(f"https://{entry}").origin


class BlockedAddress(OSError):
    """A host name resolved to an address that must not be connected to.

    An OSError, so that aiohttp tries the next address; it is the cause of the ClientConnectorError that a request raises.
    """


def guarded_session(
    tls: ssl.SSLContext,
    resolver: AbstractResolver | None,
    permitted: Callable[[IPv4Address | IPv6Address], bool],
    headers: Mapping[str, str],
) -> aiohttp.ClientSession:
    """Returns a session that connects to permitted addresses only and verifies certificates.

    It uses no proxy, cookie, password, decompression, timeout or kept connection.

    Raises:
        ValueError: `tls` does not verify certificates and host names.
    """
    if not tls.check_hostname or tls.verify_mode is not ssl.CERT_REQUIRED:
        raise ValueError("the TLS context must verify certificates and host names")

    def checked_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, target = info
        if not permitted(ip_address(str(target[0]))):
            raise BlockedAddress
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        ssl=tls,
        resolver=resolver or ThreadPerNameResolver(),
        use_dns_cache=False,
        force_close=True,
        socket_factory=checked_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),
        trust_env=False,
        max_field_size=2 * MAX_URL_BYTES,  # a Location may be as long as a URL
    )
