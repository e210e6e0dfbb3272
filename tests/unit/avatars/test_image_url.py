"""Image URLs: what is refused, what is sent, and where a redirect leads."""

import re
from urllib.parse import urljoin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from function.avatars.image_url import MAX_URL_BYTES, ImageUrl
from function.avatars.ssrf_guard import allowed_origin

HERE = "https://cdn.example"
TARGETS = [
    "/",
    "/a",
    "/?",
    "/a?",
    "/a?b=&c",
    "/a//b///",
    "//evil.example/a",
    "/./a/../b/%2e%2e/.",
    "/ada%3Aone%2Ftwo%27%28%29%40.png",
    "/a%3a%2f%c3%BC",
    "/100%",
    "/a%zz?b=%",
    "/a+b c?d+e%20f=%2B+".replace(" ", "%20"),
    '/a\'(b)!*;,:@&=$~|^`{}<>"?[]|^`{}<>"',
    "/a?b=https://other.example/?c=/../d",
    "/a?back\\slash",
    # S3, version 4; Google Cloud Storage; CloudFront; Azure
    (
        "/nova/ada%27s%20%28new%29.png?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20260101%2Feu-west-1%2Fs3"
        "%2Faws4_request&X-Amz-Date=20260101T093000Z&X-Amz-SignedHeaders=host&X-Amz-Security-Token=IQoJ%2B%2F%3D%3D&X-Amz-Signature=0a"
    ),
    "/b/o/ada.png?GoogleAccessId=nova%40nova.iam.gserviceaccount.com&Expires=1767259800&Signature=a%2Bb%2Fc%3D%3D",
    "/ada.png?Policy=eyJ~-_&Signature=a~b-c_&Key-Pair-Id=K1",
    "/c/ada.png?sv=2025-01-05&se=2026-01-01T09%3A30%3A00Z&sr=b&sp=r&sig=a%2Bb%2F%3D",
]


@pytest.mark.parametrize(
    "address",
    [
        *("", "https", "https:", "https://", "https:///a", "https:cdn.example/a", "//cdn.example/a", "cdn.example"),
        *("http://cdn.example/a", "ftp://cdn.example/a", "file:///etc/passwd", "data:image/png;base64,AAAA"),
        *("https://me@cdn.example/a", "https://me:secret@cdn.example/a", "https://:secret@cdn.example/a"),
        *("https://cdn.example\\@evil.example/a", "https://cdn.example:port/a", "https://cdn.example:99999/a"),
        *("https://cdn%2eexample/", "https://cdn.example%00.evil.example/", "https://cdn.example /", "https:// /a"),
        *("https://[fe80::1%25eth0]/", "https://[::1/a", "https://./a", "https://\ud800.example/a"),
        *("https://cdn.example\\.evil.example/", "https://cdn.example/\\evil.example", "https://cdn.example\t/a"),
        *(
            "https://cdn.example/a\n",
            "https://cdn.example/a\r\nHost: evil.example",
            "https://cdn.example/\0",
            "\nhttps://cdn.example/",
        ),
        *(
            "https://cdn.example:+443/a",
            "https://cdn.example:4_43/a",
            "https://cdn.example:４４３/a",
            "https://cdn.example:0/a",
        ),
        *(
            "https://[cdn.example]/a",
            "https://[8.8.8.8]/a",
            "https://[v1.a]/a",
            "https://2606:4700::1/a",
            "https://[::1]x/a",
        ),
        *(
            "https://cdn.example＠evil.example/",
            "https://cdn.example：444/",
            "https://\udc80.example/a",
            "https://cdn\xad.example/",
        ),
    ],
)
def test_only_https_and_a_host_without_credentials_is_an_address(address: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ImageUrl.parse(address)


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
    assert ImageUrl.parse(address).origin != allowed_origin("cdn.example")


@given(st.text(max_size=20), st.sampled_from(["", "/", "?", "#", "@", "\\", ":", ".", "%"]))
def test_whatever_stands_before_the_host_it_is_an_address_or_a_value_error(text: str, mark: str) -> None:
    """And if it is one, then one of https; nothing else is ever raised."""
    try:
        url = ImageUrl.parse(f"https://{text}{mark}cdn.example/")
    except ValueError:
        return
    assert re.fullmatch(r"[a-z0-9.:_\-]+", url.host)
    assert (url.request_url.scheme, url.request_url.raw_host, url.request_url.port) == ("https", *url.origin)


@pytest.mark.parametrize("target", TARGETS)
def test_path_and_query_are_sent_as_they_are_written(target: str) -> None:
    """A signature covers each character. What aiohttp writes into the request line is `raw_path_qs`."""
    assert ImageUrl.parse(HERE + target).request_url.raw_path_qs == target


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#?\\")), st.data())
@example("//", None)
def test_no_character_that_can_be_sent_is_rewritten(path: str, data: st.DataObject | None) -> None:
    query = (
        data.draw(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#")))
        if data
        else ""
    )
    target = f"/{path}?{query}"
    url = ImageUrl.parse(f"{HERE}:8443{target}#fragment")
    assert (url.target, url.request_url.raw_path_qs) == (target, target)
    assert url.request_url.host_port_subcomponent == "cdn.example:8443"


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (HERE, "/"),
        (f"{HERE}?a=b", "/?a=b"),
        (f"{HERE}#a?b", "/"),
        (f"{HERE}/a?b=%2F#/c?d", "/a?b=%2F"),
        (f"{HERE}/a b.png?c d", "/a%20b.png?c%20d"),
        (f"{HERE}/b\u00fccher/%C3%BC?\u00fc=%fc", "/b%C3%BCcher/%C3%BC?%C3%BC=%fc"),
        (f"{HERE}/\U0001f600", "/%F0%9F%98%80"),
        (f"{HERE}/\udcfc", "/%FC"),  # as aiohttp shows a header byte that is not UTF-8
    ],
)
def test_what_no_request_line_holds_is_encoded_and_a_fragment_is_dropped(address: str, target: str) -> None:
    assert ImageUrl.parse(address).request_url.raw_path_qs == target


@pytest.mark.parametrize(
    ("authority", "host", "port", "header"),
    [
        ("CDN.Example", "cdn.example", 443, "cdn.example"),
        ("cdn.example.", "cdn.example", 443, "cdn.example"),
        ("cdn.example:", "cdn.example", 443, "cdn.example"),
        ("cdn.example:443", "cdn.example", 443, "cdn.example"),
        ("cdn.example:08443", "cdn.example", 8443, "cdn.example:8443"),
        ("b\u00fccher.example", "xn--bcher-kva.example", 443, "xn--bcher-kva.example"),
        ("8.8.8.8:8443", "8.8.8.8", 8443, "8.8.8.8:8443"),
        ("[2606:4700:0::A]", "2606:4700::a", 443, "[2606:4700::a]"),
        ("[2606:4700::1]:8443", "2606:4700::1", 8443, "[2606:4700::1]:8443"),
    ],
)
def test_the_host_that_is_judged_is_the_host_that_is_asked(authority: str, host: str, port: int, header: str) -> None:
    url = ImageUrl.parse(f"https://{authority}/a")
    assert url.origin == (host, port)
    assert (url.request_url.raw_host, url.request_url.port) == (host, port)
    assert url.request_url.host_port_subcomponent == header


def test_a_url_may_have_8192_bytes_and_no_more() -> None:
    longest = f"{HERE}/".ljust(MAX_URL_BYTES, "a")
    assert ImageUrl.parse(longest).request_url.raw_path_qs == longest.removeprefix(HERE)
    with pytest.raises(ValueError, match=r".+"):
        ImageUrl.parse(longest + "a")
    with pytest.raises(ValueError, match=r".+"):
        ImageUrl.parse(longest[:-1] + "\u00fc")


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("https://other.example/a%2Fb?c=%27", "https://other.example/a%2Fb?c=%27"),
        ("HTTPS://OTHER.example:8443", "https://other.example:8443/"),
        ("//other.example//a/../b", "https://other.example//a/../b"),
        ("/c%3a/../d?", "https://cdn.example:8443/c%3a/../d?"),
        ("?x=%2F", "https://cdn.example:8443/a/%2F/b?x=%2F"),
        ("c", "https://cdn.example:8443/a/%2F/c"),
        ("c/../d%28?e=../f", "https://cdn.example:8443/a/%2F/c/../d%28?e=../f"),
        ("./c", "https://cdn.example:8443/a/%2F/c"),
        ("../c", "https://cdn.example:8443/a/c"),
        ("../../../../c", "https://cdn.example:8443/c"),
        ("..", "https://cdn.example:8443/a/"),
        (".?c", "https://cdn.example:8443/a/%2F/?c"),
        (".../c", "https://cdn.example:8443/a/%2F/.../c"),
        ("..%2Fc", "https://cdn.example:8443/a/%2F/..%2Fc"),
        ("c#d", "https://cdn.example:8443/a/%2F/c"),
    ],
)
def test_a_redirect_leads_where_its_location_says_letter_by_letter(location: str, leads_to: str) -> None:
    there = ImageUrl.parse("https://cdn.example:8443/a/%2F/b?q=/x/").redirected(location)
    host, _, target = leads_to.removeprefix("https://").partition("/")
    assert there.request_url.host_port_subcomponent == host
    assert there.request_url.raw_path_qs == f"/{target}"


@pytest.mark.parametrize(
    "location",
    [
        *("", "#a", "http://cdn.example/a", "ftp:a", "javascript:alert(1)", "https:/a", "https:a", "about:blank"),
        *(
            "\\\\evil.example/a",
            "/\\evil.example/a",
            "//me@cdn.example/a",
            "//",
            "///a",
            "/a\n",
            "/" + "a" * MAX_URL_BYTES,
        ),
    ],
)
def test_a_redirect_that_is_no_https_url_is_an_error(location: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ImageUrl.parse(f"{HERE}/a").redirected(location)


SIMPLE = st.lists(st.sampled_from(["a", "b%2F", "c.png", "..."]), max_size=3).map("/".join)


@given(SIMPLE, st.lists(st.sampled_from(["./", "../"]), max_size=4).map("".join), SIMPLE.filter(bool))
def test_relative_paths_are_resolved_as_the_standard_says(base: str, dots: str, rest: str) -> None:
    """urllib does that too, but also with the dots elsewhere."""
    expected = urljoin(f"{HERE}/{base}", dots + rest)
    assert HERE + ImageUrl.parse(f"{HERE}/{base}").redirected(dots + rest).target == expected
