"""`AvatarSource` and what a host sends: types, sizes, bodies and validators."""

import asyncio
import gzip
import hashlib

import pytest

from function.avatars.fetch import (
    MAX_BYTES,
    Image,
    NotModified,
    Validators,
)
from function.outcomes import Reason, Rejected
from tests.contract.servers.avatar_host import HOST, Net
from tests.contract.servers.cdn import moved, pour, response
from tests.support.images import GIF, HEIGHT, IMAGES, PNG, WIDTH, png_header

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", IMAGES)
async def test_an_image_comes_with_its_type_and_size_and_with_how_to_ask_again(net: Net, name: str) -> None:
    """The four formats, as encoders write them."""
    content_type, content = IMAGES[name]
    modified = "Thu, 01 Jan 2026 09:30:00 GMT"
    net.cdn.answers["/a"] = response(body=content, ETag='"one"', Last_Modified=modified)
    known = Validators(hashlib.sha256(content).hexdigest(), '"one"', modified)
    assert await net.fetch() == Image(content, content_type, WIDTH, HEIGHT, known)


async def test_a_host_learns_nothing_but_the_address(net: Net) -> None:
    """No cookie that an earlier answer set, no address of the person, no version of ours; and nothing compressed is
    asked for."""
    net.cdn.answers["/a?size=2"] = response(body=PNG, Set_Cookie="seen=yes; Path=/")
    source = await net.source()
    for _ in range(2):
        await source.fetch(f"{net.url}/a?size=2#fragment")
    assert net.cdn.requests[0] == net.cdn.requests[1]
    assert net.cdn.requests[0] == {
        "path": "/a?size=2",
        "host": f"{HOST}:{net.cdn.port}",
        "accept": "image/png, image/jpeg, image/gif, image/webp",
        "accept-encoding": "identity",
        "user-agent": "matrix-account-sync",
        "connection": "close",
    }


@pytest.mark.parametrize("claimed", ["text/html", "image/jpeg", "application/octet-stream", ""])
async def test_the_type_is_that_of_the_content_whatever_the_header_says(net: Net, claimed: str) -> None:
    net.cdn.answers["/a"] = response(body=PNG, Content_Type=claimed)
    image = await net.fetch()
    assert isinstance(image, Image)
    assert image.content_type == "image/png"


@pytest.mark.parametrize("content", [b"", b"<html><script>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", PNG[:20]])
async def test_what_is_no_image_is_refused_whatever_the_header_says(net: Net, content: bytes) -> None:
    net.cdn.answers["/a"] = response(body=content, Content_Type="image/png")
    assert (await net.refusal())[0] is Reason.AVATAR_NOT_AN_IMAGE


async def test_an_image_with_too_many_pixels_is_refused_by_its_header(net: Net) -> None:
    """33 bytes that would become gigabytes in whatever decodes them."""
    net.cdn.answers["/a"] = response(body=png_header(60000, 60000))
    assert await net.refusal() == (Reason.AVATAR_TOO_LARGE, "60000 x 60000 pixels")


async def test_a_body_shorter_than_its_length_says_was_cut_off(net: Net) -> None:
    net.cdn.answers["/a"] = response(body=PNG, Content_Length=str(len(PNG) + 1))
    assert await net.refusal() == (Reason.AVATAR_UNAVAILABLE, "ClientPayloadError")


async def test_what_follows_a_body_is_no_part_of_an_image(net: Net) -> None:
    """A length that is too small makes no image of the first half."""
    net.cdn.answers["/a"] = response(body=PNG + b"more", Content_Length=str(len(PNG)))
    assert await net.refusal() == (Reason.AVATAR_UNAVAILABLE, "ClientResponseError")


@pytest.mark.parametrize(
    "answer",
    [
        response(Transfer_Encoding="chunked") + f"{len(GIF):x}\r\n".encode() + GIF + b"\r\n0\r\n\r\n",
        response(body=GIF, Content_Length=""),
    ],
    ids=["chunked", "until the end"],
)
async def test_a_body_needs_no_length(net: Net, answer: bytes) -> None:
    net.cdn.answers["/a"] = answer
    image = await net.fetch()
    assert isinstance(image, Image)
    assert image.content == GIF


async def test_a_length_over_the_bound_is_refused_before_the_body_comes(net: Net) -> None:
    """The host never sends one."""

    async def announce(writer: asyncio.StreamWriter) -> None:
        writer.write(response(Content_Length=str(MAX_BYTES + 1)))
        await asyncio.Event().wait()

    net.cdn.answers["/a"] = announce
    assert (await net.refusal())[0] is Reason.AVATAR_TOO_LARGE


@pytest.mark.parametrize("size", [MAX_BYTES, MAX_BYTES + 1])
async def test_the_bound_is_exact(net: Net, size: int) -> None:
    net.cdn.answers["/a"] = response(body=GIF.ljust(size, b"\0"), Content_Length="")
    if size <= MAX_BYTES:
        assert isinstance(await net.fetch(), Image)
    else:
        assert (await net.refusal())[0] is Reason.AVATAR_TOO_LARGE


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_endless_body_is_read_to_the_bound_and_no_further(net: Net, *, chunked: bool) -> None:
    """What the host could send beyond it is what fits into the buffers between the two."""
    sent = asyncio.get_running_loop().create_future()

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(response(Transfer_Encoding="chunked") if chunked else response(Content_Length=""))
        sent.set_result(await pour(writer, b"10000\r\n" + bytes(0x10000) + b"\r\n" if chunked else bytes(0x10000)))

    net.cdn.answers["/a"] = endless
    assert (await net.refusal())[0] is Reason.AVATAR_TOO_LARGE
    assert await sent < 4 * MAX_BYTES


@pytest.mark.parametrize("coding", ["gzip", "deflate, gzip", "br", "unheard-of"])
async def test_a_compressed_body_is_refused_and_not_unpacked(net: Net, coding: str) -> None:
    net.cdn.answers["/a"] = response(body=gzip.compress(PNG), Content_Encoding=coding)
    assert await net.refusal() == (Reason.AVATAR_NOT_AN_IMAGE, "has a Content-Encoding")


@pytest.mark.parametrize("coding", ["", "identity", "aws-chunked", "aws-chunked,identity", " AWS-chunked , "])
async def test_a_coding_that_changes_no_byte_is_none(net: Net, coding: str) -> None:
    """S3's clients upload with `aws-chunked`; some stores keep that as if it were the image's."""
    head = f"HTTP/1.1 200 Said\r\nContent-Encoding: {coding}\r\nContent-Length: {len(PNG)}\r\n\r\n"
    net.cdn.answers["/a"] = head.encode() + PNG
    image = await net.fetch()
    assert isinstance(image, Image)
    assert image.content == PNG


@pytest.mark.parametrize("codings", ["aws-chunked,gzip", "identity\r\nContent-Encoding: gzip"])
async def test_a_compression_among_them_is_found(net: Net, codings: str) -> None:
    head = f"HTTP/1.1 200 Said\r\nContent-Encoding: {codings}\r\n\r\n"
    net.cdn.answers["/a"] = head.encode() + gzip.compress(PNG)
    assert await net.refusal() == (Reason.AVATAR_NOT_AN_IMAGE, "has a Content-Encoding")


async def test_an_unchanged_image_is_not_sent_again(net: Net) -> None:
    """The host says so; it may give new validators, and those it does not give stay."""
    known = Validators("0" * 64, '"one"', "Thu, 01 Jan 2026 09:30:00 GMT")
    net.cdn.answers["/a"] = response(304, ETag='"two"')
    assert await net.fetch(known=known) == NotModified(Validators("0" * 64, '"two"', known.last_modified))
    assert net.cdn.requests[0]["if-none-match"] == '"one"'
    assert net.cdn.requests[0]["if-modified-since"] == known.last_modified


async def test_not_modified_is_no_answer_to_a_request_without_conditions(net: Net) -> None:
    """Neither at first nor after a redirect: there the host speaks of an image that we never had from it."""
    net.cdn.answers |= {"/a": response(304), "/b": moved("/a")}
    source = await net.source()
    for path, known in (("/a", Validators("0" * 64)), ("/b", Validators("0" * 64, '"one"'))):
        with pytest.raises(Rejected) as caught:
            await source.fetch(net.url + path, known)
        assert caught.value.reason is Reason.AVATAR_NOT_FOUND


async def test_a_changed_image_at_the_same_address_is_noticed(net: Net) -> None:
    net.cdn.answers["/a"] = response(body=PNG, ETag='"one"')
    first = await net.fetch()
    net.cdn.answers["/a"] = response(body=GIF, ETag='"two"')
    second = await net.fetch(known=first.known)
    assert isinstance(second, Image)
    assert (second.content, second.known.etag) == (GIF, '"two"')
    assert second.known.sha256 != first.known.sha256


async def test_the_same_bytes_are_the_same_image_whatever_the_validators_say(net: Net) -> None:
    """A host without validators, or with new ones after each deployment."""
    net.cdn.answers["/a"] = response(body=PNG)
    first = await net.fetch()
    assert first.known == Validators(hashlib.sha256(PNG).hexdigest())
    net.cdn.answers["/a"] = response(body=PNG, ETag='"two"')
    assert await net.fetch(known=first.known) == NotModified(Validators(first.known.sha256, '"two"'))
    assert "if-none-match" not in net.cdn.requests[1]


async def test_a_redirect_to_an_older_image_is_a_change(net: Net) -> None:
    """An address that leads to whatever image the person chose. Had the validators of the last one been sent, the other
    would be "not modified since"."""
    net.cdn.answers |= {"/a": moved("/b"), "/b": response(body=PNG, ETag='"one"'), "/c": response(body=GIF)}
    first = await net.fetch()
    assert first.known == Validators(hashlib.sha256(PNG).hexdigest())
    net.cdn.answers["/a"] = moved("/c")
    direct = Validators(first.known.sha256, '"one"', "Thu, 01 Jan 2026 09:30:00 GMT")
    second = await net.fetch(known=direct)
    assert isinstance(second, Image)
    assert net.cdn.requests[-1].keys().isdisjoint({"if-none-match", "if-modified-since"})


@pytest.mark.parametrize("etag", ['"' + "x" * 300 + '"', '"\u00fc"'])
async def test_a_validator_that_could_not_be_kept_is_forgotten(net: Net, etag: str) -> None:
    """The record of a user is no place for a host's 8 KiB."""
    net.cdn.answers["/a"] = response(body=PNG, ETag=etag)
    assert (await net.fetch()).known.etag == ""
