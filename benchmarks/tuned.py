"""The function with another batch size than it is deployed with, for the growth table: `python -m benchmarks.tuned
BATCH_SIZE`."""

import sys

from function import bulk
from function.cli import main

if __name__ == "__main__":
    bulk.BATCH_SIZE = int(sys.argv[1])  # there is no setting, on purpose
    sys.argv = ["matrix-account-sync", "serve"]
    main()
