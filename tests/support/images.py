"""Holds small images of 20 x 10 pixels as an encoder (Pillow 12) wrote them, and makes headers of any size."""

import struct
import zlib
from base64 import b64decode

WIDTH, HEIGHT = 20, 10

# name: (content type, content)
IMAGES = {
    "png": (
        "image/png",
        b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAABQAAAAKCAIAAAA7N+mxAAAAF0lEQVR4nGM8IafBQC5gIlvnqOYRoxkAnDQBIj3XwzEAAAAASUVO"
            "RK5CYII="
        ),
    ),
    "jpeg": (
        "image/jpeg",
        b64decode(
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6j"
            "q62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
            "pKSkpKSkpKT/wAARCAAKABQDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAT/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QA"
            "FgEBAQEAAAAAAAAAAAAAAAAAAAMF/8QAFBEBAAAAAAAAAAAAAAAAAAAAAP/aAAwDAQACEQMRAD8AhAQbAAD/2Q=="
        ),
    ),
    "progressive jpeg": (
        "image/jpeg",
        b64decode(
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6j"
            "q62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
            "pKSkpKSkpKT/wgARCAAKABQDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAP/xAAWAQEBAQAAAAAAAAAAAAAAAAAAAwT/"
            "2gAMAwEAAhADEAAAAYCewD//xAAUEAEAAAAAAAAAAAAAAAAAAAAg/9oACAEBAAEFAl//xAAUEQEAAAAAAAAAAAAAAAAAAAAQ/9oA"
            "CAEDAQE/AT//xAAUEQEAAAAAAAAAAAAAAAAAAAAQ/9oACAECAQE/AT//xAAUEAEAAAAAAAAAAAAAAAAAAAAg/9oACAEBAAY/Al//"
            "xAAUEAEAAAAAAAAAAAAAAAAAAAAg/9oACAEBAAE/IV//2gAMAwEAAgADAAAAEAgv/8QAFBEBAAAAAAAAAAAAAAAAAAAAEP/aAAgB"
            "AwEBPxA//8QAFBEBAAAAAAAAAAAAAAAAAAAAEP/aAAgBAgEBPxA//8QAFBABAAAAAAAAAAAAAAAAAAAAIP/aAAgBAQABPxBf/9k="
        ),
    ),
    "gif": (
        "image/gif",
        b64decode("R0lGODdhFAAKAIEAAMgeKAAAAAAAAAAAACwAAAAAFAAKAAAIGQABCBxIsKDBgwgTKlzIsKHDhxAjSpyoMCAAOw=="),
    ),
    "webp": (
        "image/webp",
        b64decode(
            "UklGRkQAAABXRUJQVlA4IDgAAADQAgCdASoUAAoAPm0skUWkIqGYBABABsSgB2AAEWMAAP7wG9//oUbKJin//9pZ/9Sz/6ln+KgAAA=="
        ),
    ),
    "lossless webp": (
        "image/webp",
        b64decode("UklGRh4AAABXRUJQVlA4TBEAAAAvE0ACAAdQjyIXpf+BiOh/AAA="),
    ),
    "extended webp": (
        "image/webp",
        b64decode(
            "UklGRmAAAABXRUJQVlA4WAoAAAAQAAAAEwAACQAAQUxQSAoAAAABB1DAiAhERP8DVlA4IDAAAACwAgCdASoUAAoAP3Ggxli0q6ej"
            "sAgCkC4JQAAPZAAA/t+APoPi5f/6iewjvvqwAAA="
        ),
    ),
    "animated webp": (
        "image/webp",
        b64decode(
            "UklGRsIAAABXRUJQVlA4WAoAAAACAAAAEwAACQAAQU5JTQYAAAAAAAAAAABBTk1GVAAAAAAAAAAAABMAAAkAAAAAAAJWUDggPAAA"
            "ANACAJ0BKhQACgA+bSySRaQioZgEAEAGxKAHYAAQaAAA/vAb3/+hRsomvH//7Sz/6ln/1LP78n/GHAAAAEFOTUY6AAAAAAAAAAAA"
            "EwAACQAAAAAAAFZQOCAiAAAA9AEAnQEqFAAKAC5NNptNgAAExLSAAHsoAP79Ny3/tWEAAA=="
        ),
    ),
}
PNG, JPEG, GIF, WEBP = (IMAGES[name][1] for name in ("png", "jpeg", "gif", "webp"))


def png_header(width: int, height: int) -> bytes:
    """Returns the first 33 bytes of a PNG."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def jpeg_header(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xc0" + struct.pack(">HBHH", 17, 8, height, width)


def gif_header(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height)


def webp_header(width: int, height: int) -> bytes:
    """Returns the header of a WebP file in the extended format."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + size
