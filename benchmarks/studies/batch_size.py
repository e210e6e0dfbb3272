"""Runs the function with another batch size, for the scaling table: `python -m benchmarks.studies.batch_size BATCH_SIZE`."""

import sys

from function.cli import main
from function.dapr import subscription

if __name__ == "__main__":
    subscription.BATCH_SIZE = int(sys.argv[1])  # there is no setting, on purpose
    sys.argv = ["matrix-account-sync", "serve"]
    main()
