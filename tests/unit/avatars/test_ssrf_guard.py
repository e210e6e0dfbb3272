"""Which addresses may be connected to, and which hosts the allow list means."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from function.avatars.ssrf_guard import allowed_origin, is_global


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2606:4700::1", "2a00:1450::1", "64:ff9b::808:808"],
)
def test_an_address_on_the_internet_is_global(address: str) -> None:
    assert is_global(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "10.0.0.1", "172.16.0.1", "172.31.255.255"),
        *("192.168.0.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
        *("192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254"),
        *("ff02::1", "ff0e::1", "100::1", "2001:db8::1", "3fff::1", "5f00::1", "4000::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:127.0.0.1"),
        *("64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8"),
        *("2002:7f00:1::", "2002:808:808::1", "2001:0:808:808::1", "2001:2::1", "2001:10::1"),
    ],
)
def test_an_address_that_is_inside_or_nowhere_is_not_global(address: str) -> None:
    """Metadata services, relays and every way to write an IPv4 address into an IPv6 one are among them."""
    assert not is_global(ip_address(address))


@given(st.ip_addresses(v=4))
@example(IPv4Address("127.0.0.1"))
@example(IPv4Address("8.8.8.8"))
def test_an_ipv4_address_inside_an_ipv6_one_is_never_more_than_it_is_alone(address: IPv4Address) -> None:
    number = int(address)
    forms = {
        "NAT64": IPv6Address((0x0064FF9B << 96) | number),
        "mapped": IPv6Address((0xFFFF << 32) | number),
        "compatible": IPv6Address(number),
        "6to4": IPv6Address((0x2002 << 112) | (number << 80) | 1),
        "Teredo server": IPv6Address((0x20010000 << 96) | (number << 64) | 1),
        "Teredo client": IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)),
    }
    assert {name for name, form in forms.items() if is_global(form)} == ({"NAT64"} if is_global(address) else set())


@given(st.ip_addresses())
def test_what_python_knows_to_be_inside_is_never_global(address: IPv4Address | IPv6Address) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert not is_global(address)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("cdn.example", ("cdn.example", 443)),
        ("CDN.Example.", ("cdn.example", 443)),
        ("cdn.example:8443", ("cdn.example", 8443)),
        ("bücher.example", ("xn--bcher-kva.example", 443)),
        ("8.8.8.8", ("8.8.8.8", 443)),
        ("[2606:4700:0:0::1]:8443", ("2606:4700::1", 8443)),
    ],
)
def test_an_entry_of_the_allow_list_is_a_host_and_a_port(entry: str, expected: tuple[str, int]) -> None:
    assert allowed_origin(entry) == expected


@pytest.mark.parametrize(
    "entry",
    [
        *("", ".", "*", "*.example", "https://cdn.example", "cdn.example/", "cdn.example/images", "cdn.example?a"),
        *("me@cdn.example", "cdn.example:port", "cdn.example:99999", "2606:4700::1", "[cdn.example]", " cdn.example"),
    ],
)
def test_anything_else_on_the_allow_list_is_an_error(entry: str) -> None:
    """It would allow nothing, or a host that was not meant."""
    with pytest.raises(ValueError, match=r".+"):
        allowed_origin(entry)
