"""The console script `matrix-account-sync`, which is also `python -m function`."""

import gc

gc.disable()  # importing makes many objects and no garbage; looking for it would be a tenth of the start
from function.cli import main  # noqa: E402

gc.enable()

if __name__ == "__main__":
    main()
