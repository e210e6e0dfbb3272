"""Reads and writes bytes by key in Dapr's state store: one bulk read and one transaction a batch, guarded by ETags."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

from dapr.aio.clients import DaprClient
from dapr.clients.exceptions import DaprInternalError
from dapr.proto import api_v1, common_v1
from grpc import RpcError, StatusCode

from function.outcomes import Reason, TryAgain

FIRST_WRITE = common_v1.StateOptions(concurrency=common_v1.StateOptions.StateConcurrency.CONCURRENCY_FIRST_WRITE)
PROBE_KEY = "health"
CUT_OFF = "a bulk read was cut off"
JITTER_SECONDS = 0.02  # before the second attempt of an update; two writers that met do not meet again

Value = tuple[bytes, str]  # bytes and their ETag; "" where there is none


class Conflict(Exception):
    """Another writer changed one of the values since they were read; nothing was written."""


class TooLargeError(TryAgain):
    """The values exceed what the sidecar takes at once, 4 MB by default; nothing was written. Fewer of them may succeed."""


class StateStore:
    """Reads and writes one state store component.

    Args:
        client: client of the sidecar.
        name: name of the Dapr state store component.
        read_only: whether writes do nothing, as in a dry run.
    """

    read_only = False

    def __init__(self, client: DaprClient, name: str, *, read_only: bool = False) -> None:
        self._client, self._name, self.read_only = client, name, read_only

    async def read_values(self, wanted: Iterable[str]) -> dict[str, Value]:
        """Returns bytes and ETag of each key; both are empty for a key without a value. Raises TryAgain.

        One bulk read, unless the values exceed what gRPC takes at once, 4 MB. When its connection breaks, daprd's component for PostgreSQL
        answers that every key is absent, without an error. So the probe's key, which is there, is read with the others.
        """
        keys = list(wanted)
        try:
            found = await self._client.get_bulk_state(
                self._name, list(dict.fromkeys([*keys, PROBE_KEY])), parallelism=10
            )
        except RpcError as error:
            if error.code() is StatusCode.RESOURCE_EXHAUSTED and len(keys) > 1:
                half = len(keys) // 2
                return await self.read_values(keys[:half]) | await self.read_values(keys[half:])
            raise self._unavailable(error) from None
        values = {item.key: (cast("bytes", item.data), item.etag) for item in found.items}
        if any(item.error for item in found.items) or values.keys() != {*keys, PROBE_KEY}:
            raise TryAgain(Reason.STATE_UNAVAILABLE, "a bulk read was answered in part")
        if not values[PROBE_KEY][0] and not all(values[key][0] for key in keys):
            await self._ensure_unprobed()
        return {key: values[key] for key in keys}

    async def _ensure_unprobed(self) -> None:
        """Raises TryAgain if the store has the probe's key: then a bulk read without it was cut off."""
        try:
            probed = await self._client.get_state(self._name, PROBE_KEY)
        except RpcError as error:
            raise self._unavailable(error) from None
        if probed.data:
            raise TryAgain(Reason.STATE_UNAVAILABLE, CUT_OFF)

    async def write_values(self, values: Mapping[str, Value]) -> None:
        """Writes all of the values or none of them, each only over the ETag that it was read with.

        Raises:
            Conflict: at least one of them was changed in between; nothing was written.
            TryAgain: the store did not take them; TooLargeError: it may take fewer.
        """
        if self.read_only:
            return
        # In one order for every writer: two transactions that lock the same rows in different orders end in a deadlock.
        operations = [
            api_v1.TransactionalStateOperation(
                operationType="upsert",
                request=common_v1.StateItem(
                    key=key, value=value, etag=common_v1.Etag(value=etag) if etag else None, options=FIRST_WRITE
                ),
            )
            for key, (value, etag) in sorted(values.items())
        ]
        request = api_v1.ExecuteStateTransactionRequest(storeName=self._name, operations=operations)
        try:
            # The SDK's execute_state_transaction has no concurrency option: two writers of a new key would overwrite
            # each other unseen. So the request is built here and sent through the SDK's own stub.
            await self._client._stub.ExecuteStateTransaction(request)  # noqa: SLF001
        except RpcError as error:
            # No status tells a conflict inside a transaction: SQLite's and PostgreSQL's components say it in words.
            said = error.details() or ""
            if error.code() is StatusCode.ABORTED or "etag mismatch" in said or "no item was updated" in said:
                raise Conflict from None
            if error.code() is StatusCode.RESOURCE_EXHAUSTED:
                raise TooLargeError(Reason.STATE_UNAVAILABLE, f"{self._name}: {error.code().name}") from None
            raise self._unavailable(error) from None

    async def update(self, key: str, change: Callable[[bytes], bytes], attempts: int = 5) -> None:
        """Reads the value of `key`, changes it and writes it back; see `update_values`."""
        await self.update_values([key], lambda values: {key: change(values[key])}, attempts)

    async def update_values(
        self, keys: Sequence[str], change: Callable[[dict[str, bytes]], Mapping[str, bytes]], attempts: int = 5
    ) -> None:
        """Reads the values of `keys`, changes them and writes them back, all or none.

        Starts over if another writer was there in between, so `change` is called once for each attempt. It returns the
        values to write; an unchanged one is not written.

        Raises:
            TryAgain: the store is unavailable, or every attempt met a conflict; TooLargeError: it may take fewer.
        """
        for attempt in range(1, attempts + 1):
            stored = await self.read_values(keys)
            wanted = change({key: value for key, (value, _) in stored.items()})
            changed = {key: (value, stored[key][1]) for key, value in wanted.items() if value != stored[key][0]}
            if not changed:
                return
            with contextlib.suppress(Conflict):
                await self.write_values(changed)
                return
            await asyncio.sleep(random.uniform(0, JITTER_SECONDS * attempt))  # noqa: S311 - no secret
        raise TryAgain(Reason.CONFLICT, keys[0])

    async def probe(self) -> None:
        """Writes and reads a key of its own, which detects a full or read-only store. Raises TryAgain."""
        if self.read_only:
            await self.read_values([PROBE_KEY])
            return
        try:
            await self._client.save_state(self._name, PROBE_KEY, b"{}")
            await self._client.get_state(self._name, PROBE_KEY)
        except RpcError as error:
            raise self._unavailable(error) from None
        except DaprInternalError:  # what save_state, alone, makes of an RpcError, without its code
            raise TryAgain(Reason.STATE_UNAVAILABLE, f"{self._name}: not writable or not there") from None

    def _unavailable(self, error: RpcError) -> TryAgain:
        return TryAgain(Reason.STATE_UNAVAILABLE, f"{self._name}: {error.code().name}")
