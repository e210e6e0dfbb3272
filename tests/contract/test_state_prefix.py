"""The records stay where they are if the component of the state store is renamed: the prefix of their keys is its former name."""

from pathlib import Path

import pytest
import yaml

from function.accounts.user_state import UserState
from function.accounts.user_store import UserStore, Versioned
from tests.contract.servers import stores
from tests.contract.servers.sidecar import component, running

pytestmark = [pytest.mark.anyio, pytest.mark.real]

KUBERNETES = Path(__file__).parents[2] / "k8s" / "base" / "dapr" / "statestore.yaml"
FORMER = "statestore"


def prefix_on_kubernetes() -> str:
    metadata = yaml.safe_load(KUBERNETES.read_text())["spec"]["metadata"]
    return str(next(one["value"] for one in metadata if one["name"] == "keyPrefix"))


async def test_the_records_of_the_former_name_are_read(
    tmp_path: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = str(tmp_path / "state.db")
    named = {FORMER: "name", "matrix-account-sync-statestore": prefix_on_kubernetes()}
    made = [
        component(name, "state.sqlite", "v1", {"connectionString": database, "keyPrefix": prefix})
        for name, prefix in named.items()
    ]
    with running(tmp_path, made) as (http, grpc):
        monkeypatch.setenv("DAPR_HTTP_PORT", str(http))
        async with stores.over_grpc(grpc, FORMER) as before, stores.over_grpc(grpc, [*named][1]) as after:
            await UserStore(before).write({user: Versioned(UserState(display_name="Ada"))})
            assert (await UserStore(after).read(user)).state.display_name == "Ada"
