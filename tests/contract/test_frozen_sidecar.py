"""A real daprd that is stopped in the middle (SIGSTOP): calls end at their deadline, and work again once it goes on."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.processes import Server
from function.dapr.client import open_client
from function.dapr.state_store import StateStore
from function.outcomes import Reason, TryAgain
from tests.contract.servers import stores

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Its processes do not run inside the block, but keep their connections, as with a frozen virtual machine."""
    processes = server.pids()
    assert processes
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


async def test_a_frozen_sidecar_holds_up_no_call_for_longer_than_its_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stores.sidecar(tmp_path, {"sqlite": ("state.sqlite", "v1", str(tmp_path / "state.db"))}) as (http, grpc):
        monkeypatch.setenv("DAPR_HTTP_PORT", str(http))
        monkeypatch.setenv("DAPR_GRPC_PORT", str(grpc))
        async with open_client(timeout=20, call_seconds=1.0) as client, asyncio.timeout(60):
            store = StateStore(client, "sqlite")
            await store.write_values({"user": (b"{}", "")})
            with stopped(Server("daprd", tmp_path)):
                for call in (store.read_values(["user"]), store.write_values({"other": (b"{}", "")}), store.probe()):
                    with pytest.raises(TryAgain) as failed:
                        await call
                    assert failed.value.reason is Reason.STATE_UNAVAILABLE
            value, etag = (await store.read_values(["user"]))["user"]
            assert value == b"{}"
            await store.write_values({"user": (b'{"later": 1}', etag)})
