"""Decoding leaves nothing in memory."""

import gc

from dev.identity_events import DELETED
from function.events.decode import decode
from function.outcomes import Rejected
from tests.support.events import delivered


def test_a_rejected_payload_keeps_no_frames_alive() -> None:
    record = delivered({"user_id": "no-uuid", "soft_delete": True}, DELETED)

    def batch() -> None:
        results = []  # a frame that holds its results, as that of a batch does
        for _ in range(50):
            results.append(decode(record.value, record.headers))  # noqa: PERF401
        assert all(isinstance(one, Rejected) for one in results)

    def objects() -> int:
        batch()
        gc.collect()
        return len(gc.get_objects())

    first = objects()
    assert objects() - first < 50
