"""Type and size of an image from its first bytes."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from function.avatars.image_header import MAX_PIXELS, MAX_SIDE, ImageInfo, read_image_info
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
