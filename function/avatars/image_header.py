"""Reads type, width and height of an image from its first bytes. Decodes nothing; pure.

Does not check the pixels: an image with a valid header can still be corrupt further on.
"""

import struct
import zlib
from dataclasses import dataclass

from function.outcomes import Reason, Rejected

MAX_SIDE = 8192
MAX_PIXELS = 32 * 1024 * 1024  # Synapse makes no thumbnails of larger ones: its max_image_pixels

_SEGMENTS = 1000  # of a JPEG before its frame; real ones have a few dozen, at most a 64 KiB segment each
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # the JPEG processes that browsers support: baseline, extended, progressive


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The media type, such as `image/png`, and the size in pixels."""

    content_type: str
    width: int
    height: int


def read_image_info(content: bytes) -> ImageInfo:
    """Returns type and size of the image that the bytes begin with.

    Raises:
        Rejected: not a PNG, JPEG, GIF or WebP, a corrupt or truncated header, or more pixels than allowed.
    """
    try:
        info = _image_info(content)
    except (struct.error, IndexError):
        raise Rejected(Reason.AVATAR_NOT_AN_IMAGE, "header cut off") from None
    if info.width == 0 or info.height == 0:
        raise Rejected(Reason.AVATAR_NOT_AN_IMAGE, "no pixels")
    if max(info.width, info.height) > MAX_SIDE or info.width * info.height > MAX_PIXELS:
        raise Rejected(Reason.AVATAR_TOO_LARGE, f"{info.width} x {info.height} pixels")
    return info


def _image_info(content: bytes) -> ImageInfo:
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return ImageInfo("image/png", *_png(content))
    if content.startswith(b"\xff\xd8\xff"):
        return ImageInfo("image/jpeg", *_jpeg(content))
    if content.startswith((b"GIF87a", b"GIF89a")):
        return ImageInfo("image/gif", *struct.unpack_from("<HH", content, 6))
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return ImageInfo("image/webp", *_webp(content))
    raise Rejected(Reason.AVATAR_NOT_AN_IMAGE, "neither PNG, JPEG, GIF nor WebP")


def _png(content: bytes) -> tuple[int, int]:
    length, kind, width, height = struct.unpack_from(">I4sII", content, 8)
    (checksum,) = struct.unpack_from(">I", content, 29)
    if (length, kind) != (13, b"IHDR") or zlib.crc32(content[12:29]) != checksum:
        raise _corrupt()
    return width, height


def _jpeg(content: bytes) -> tuple[int, int]:
    """Reads segment after segment up to the frame header."""
    at = 2
    for _ in range(_SEGMENTS):
        mark, marker = content[at], content[at + 1]
        if mark != 0xFF:
            break
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length, height, width = struct.unpack_from(">HxHH", content, at + 2)
        if marker in _FRAMES:
            return width, height
        if not (marker in {0xC4, 0xCC, 0xDB, 0xDD} or marker >= 0xE0) or length < 2:
            break  # pixels or the end before any frame, or a process that no browser supports
        at += 2 + length
    raise _corrupt()


def _webp(content: bytes) -> tuple[int, int]:
    (size,) = struct.unpack_from("<I", content, 4)
    if size + 8 > len(content):
        raise Rejected(Reason.AVATAR_NOT_AN_IMAGE, "cut off")
    kind = content[12:16]
    if kind == b"VP8X":
        low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", content, 24)
        return 1 + (high_width << 16 | low_width), 1 + (high_height << 16 | low_height)
    if kind == b"VP8L":
        signature, bits = struct.unpack_from("<BI", content, 20)
        if signature == 0x2F and bits >> 29 == 0:
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        tag, start, width, height = struct.unpack_from("<B2x3sHH", content, 20)
        if tag & 1 == 0 and start == b"\x9d\x01\x2a":
            return width & 0x3FFF, height & 0x3FFF
    raise _corrupt()


def _corrupt() -> Rejected:
    return Rejected(Reason.AVATAR_NOT_AN_IMAGE, "corrupt header")
