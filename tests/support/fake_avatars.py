"""Fakes the avatar source: images by URL, in memory."""

import hashlib

from function.avatars.fetch import AvatarSource, Image, NotModified, Validators
from function.outcomes import Reason, Rejected


class FakeAvatars(AvatarSource):
    """`images` holds the existing images by URL; `broken` the URLs that fail, with the reason; `asked` the number of requests."""

    def __init__(self) -> None:
        self.images: dict[str, bytes] = {}
        self.broken: dict[str, Reason] = {}
        self.asked: list[str] = []

    async def fetch(self, address: str, known: Validators | None = None) -> Image | NotModified:
        self.asked.append(address)
        if reason := self.broken.get(address):
            raise Rejected(reason, "fake")
        if address not in self.images:
            raise Rejected(Reason.AVATAR_HOST_NOT_ALLOWED, "not on AVATAR_ALLOWED_HOSTS")
        content = self.images[address]
        found = Validators(hashlib.sha256(content).hexdigest(), f'"{len(content)}"')
        if known and known.etag == found.etag:
            return NotModified(known)
        return Image(content, "image/png", 1, 1, found)
