"""MATRIX_DRY_RUN: parts that look as the real ones do, and log what they would write instead of writing it."""

import logging
from collections.abc import Mapping

from function.dapr.bulk_envelope import KafkaRecord
from function.dapr.state_store import StateStore, Value
from function.dead_letters.publish import DeadLetters
from function.homeserver.synapse import Synapse
from function.outcomes import Rejected
from function.telemetry.logs import log


def _would(call: str) -> None:
    log(logging.INFO, "would", call=call)


class DrySynapse(Synapse):
    """Reads Synapse and writes nothing."""

    async def deactivate(self, user_id: str, *, erase: bool) -> bool:
        known = await self.account(user_id) is not None
        if known:
            _would("erase" if erase else "deactivate")
        return known

    async def create(self, user_id: str, name: str, provider: str) -> None:
        _would("create")

    async def set_display_name(self, user_id: str, name: str) -> None:
        _would("set_display_name")

    async def set_avatar(self, user_id: str, address: str) -> None:
        _would("set_avatar")

    async def end_sessions(self, user_id: str) -> bool:
        _would("end_sessions")
        return True

    async def upload(self, content: bytes, content_type: str, user_id: str) -> str:
        _would("upload")
        return "mxc://dry.run/none"

    async def delete_media(self, mxc: str) -> None:
        _would("delete_media")


class DryStateStore(StateStore):
    """Reads records and writes none."""

    async def write_values(self, values: Mapping[str, Value]) -> None:
        pass

    async def probe(self) -> None:
        await self.read_values(["health"])


class DryDeadLetters(DeadLetters):
    """Publishes nothing."""

    async def publish(self, record: KafkaRecord, rejected: Rejected, event_id: str) -> None:
        _would("dead_letter")
