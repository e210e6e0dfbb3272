"""Runs the function with another batch size and collecting time, for the tables of batches:
`python -m benchmarks.studies.batch_size BATCH_SIZE [BATCH_MS]`."""

import sys

from function.cli import main
from function.dapr import subscription

if __name__ == "__main__":  # there are no settings for them, on purpose
    subscription.BATCH_SIZE = int(sys.argv[1])
    subscription.BATCH_MS = int(sys.argv[2]) if len(sys.argv) > 2 else subscription.BATCH_MS
    sys.argv = ["matrix-account-sync", "serve"]
    main()
