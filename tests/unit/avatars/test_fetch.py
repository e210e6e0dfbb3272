"""The pure parts of fetching an avatar: which addresses may be connected to and asked, and what an image is."""

import re
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from function.avatars.image_header import MAX_PIXELS, MAX_SIDE, ImageInfo, read_image_info
from function.avatars.ssrf_guard import allowed_origin, is_global, origin_of, parse_https_url
from function.outcomes import Reason, Rejected
from tests.support.images import (
    HEIGHT,
    IMAGES,
    JPEG,
    PNG,
    WEBP,
    WIDTH,
    gif_header,
    jpeg_header,
    png_header,
    webp_header,
)

HEADERS = {"png": png_header, "jpeg": jpeg_header, "gif": gif_header, "webp": webp_header}
CONTENTS = st.sampled_from([content for _, content in IMAGES.values()])


def measured(content: bytes) -> ImageInfo | Reason:
    try:
        return read_image_info(content)
    except Rejected as rejected:
        return rejected.reason


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


@pytest.mark.parametrize(
    "address",
    [
        *("", "https", "https:", "https://", "https:///a", "https:cdn.example/a", "//cdn.example/a", "cdn.example"),
        *("http://cdn.example/a", "ftp://cdn.example/a", "file:///etc/passwd", "data:image/png;base64,AAAA"),
        *("https://me@cdn.example/a", "https://me:secret@cdn.example/a", "https://:secret@cdn.example/a"),
        *("https://cdn.example\\@evil.example/a", "https://cdn.example:port/a", "https://cdn.example:99999/a"),
        *("https://cdn%2eexample/", "https://cdn.example%00.evil.example/", "https://cdn.example /", "https:// /a"),
        *("https://[fe80::1%25eth0]/", "https://[::1/a", "https://./a", "https://\ud800.example/a"),
    ],
)
def test_only_https_and_a_host_without_credentials_is_an_address(address: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_https_url(address)


@pytest.mark.parametrize(
    "address",
    [
        *("https://evil.example/cdn.example", "https://evil.example?cdn.example", "https://evil.example#cdn.example"),
        *("https://cdn.example.evil.example/", "https://evilcdn.example/", "https://cdn.example../"),
        *("https://cdn.example:444/",),
        *("https://127。0。0。1/", "https://2130706433/", "https://0x7f.1/", "https://[::ffff:127.0.0.1]/"),
    ],
)
def test_no_disguise_makes_another_host_the_allowed_one(address: str) -> None:
    assert origin_of(parse_https_url(address)) != allowed_origin("cdn.example")


@given(st.text(max_size=20), st.sampled_from(["", "/", "?", "#", "@", "\\", ":", ".", "%"]))
def test_whatever_stands_before_the_host_it_is_an_address_or_a_value_error(text: str, mark: str) -> None:
    """And if it is one, then one of https; nothing else is ever raised."""
    try:
        url = parse_https_url(f"https://{text}{mark}cdn.example/")
    except ValueError:
        return
    assert url.scheme == "https"
    assert re.fullmatch(r"[a-z0-9.:_\-]+", origin_of(url)[0])


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_the_type_and_size_that_its_header_says(name: str) -> None:
    content_type, content = IMAGES[name]
    assert read_image_info(content) == ImageInfo(content_type, WIDTH, HEIGHT)


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (MAX_SIDE, 4096), (4096, MAX_SIDE)])
def test_sizes_up_to_the_bounds_are_read(header: Callable[[int, int], bytes], width: int, height: int) -> None:
    picture = read_image_info(header(width, height))
    assert (picture.width, picture.height) == (width, height)


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize(
    ("width", "height"), [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1), (MAX_SIDE, MAX_PIXELS // MAX_SIDE + 1), (65535, 65535)]
)
def test_sizes_over_the_bounds_are_too_large(header: Callable[[int, int], bytes], width: int, height: int) -> None:
    assert measured(header(width, height)) is Reason.AVATAR_TOO_LARGE


@pytest.mark.parametrize("header", [png_header, jpeg_header, gif_header])
@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0)])
def test_an_image_without_pixels_is_none(header: Callable[[int, int], bytes], width: int, height: int) -> None:
    """A JPEG may leave its height open; nothing that shows avatars reads on to find it."""
    assert measured(header(width, height)) is Reason.AVATAR_NOT_AN_IMAGE


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF88a" + bytes(20),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"BM" + bytes(60),
        b"RIFF\x04\0\0\0WAVE" + bytes(30),
        PNG.replace(b"IHDR", b"CgBI"),
        PNG[:16] + b"\0\0\0\x15" + PNG[20:],  # the checksum is that of another size
        JPEG[:2] + b"\xff\xd9" + JPEG[2:],  # ends before it begins
        JPEG.replace(b"\xff\xc0", b"\xff\xc3"),  # lossless: browsers do not show it
        b"\xff\xd8\xff\xe0\x00\x01" + JPEG[6:],  # a segment shorter than its own length
        b"\xff\xd8" + b"\xff" * 100_000,
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * 100_000 + JPEG[2:],
        WEBP.replace(b"VP8 ", b"VP9 "),
        WEBP.replace(b"\x9d\x01\x2a", b"\x9d\x01\x2b"),
        WEBP[:-1],
    ],
)
def test_what_is_corrupt_or_something_else_is_no_image(content: bytes) -> None:
    assert measured(content) is Reason.AVATAR_NOT_AN_IMAGE


@given(CONTENTS, st.data())
def test_a_header_that_is_cut_off_is_no_image_and_never_another_size(content: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(content)))
    assert measured(content[:cut]) in {measured(content), Reason.AVATAR_NOT_AN_IMAGE}


@given(CONTENTS, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=6))
@example(struct.pack(">I", 0xFFD8FFFF), [])
def test_whatever_the_bytes_they_are_a_picture_within_the_bounds_or_refused(
    content: bytes, changes: list[tuple[int, int]]
) -> None:
    """An attacker chooses them; nothing but `Rejected` is ever raised."""
    changed = bytearray(content)
    for place, value in changes:
        if place < len(changed):
            changed[place] = value
    picture = measured(bytes(changed))
    if isinstance(picture, ImageInfo):
        assert 0 < picture.width <= MAX_SIDE
        assert 0 < picture.height <= MAX_SIDE
        assert picture.width * picture.height <= MAX_PIXELS
    else:
        assert picture in {Reason.AVATAR_NOT_AN_IMAGE, Reason.AVATAR_TOO_LARGE}
