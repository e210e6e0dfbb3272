"""The function with other constants than it is deployed with, for the growth table: `python -m benchmarks.tuned
BATCH_SIZE COMPONENTS`."""

import sys
from typing import Any

from function import bulk
from function.cli import main


def tune(batch_size: int, components: int) -> None:
    """Sets the batch size, and subscribes on `pubsub-2` and so on too: each component is one more member of the group,
    with one more batch in flight."""
    declare = bulk._BulkDaprApp.declare_bulk  # noqa: SLF001 - there is no setting, on purpose
    bulk.BATCH_SIZE = batch_size

    def declare_more(app: Any, batch_ms: int) -> None:
        declare(app, batch_ms)
        first = list(app._subscriptions)  # noqa: SLF001
        for number in range(2, components + 1):
            app._subscriptions += [one | {"pubsubname": f"pubsub-{number}"} for one in first]  # noqa: SLF001

    bulk._BulkDaprApp.declare_bulk = declare_more  # type: ignore[method-assign, assignment]  # noqa: SLF001


if __name__ == "__main__":
    tune(int(sys.argv[1]), int(sys.argv[2]))
    sys.argv = ["matrix-account-sync", "serve"]
    main()
