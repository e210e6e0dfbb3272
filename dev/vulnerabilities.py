"""`make vulnerabilities`: asks a database of known weaknesses about everything that the image is made from. pip-audit does
the asking, over the network; nothing is installed or run of what it asks about."""

import subprocess
import sys

from dev import toolchain
from dev.processes import StackError

LOCKED = ("requirements.txt", "requirements-build.txt")


def main() -> None:
    """Exit code 1: something is known, or nobody could be asked; what pip-audit says tells which."""
    try:
        python = toolchain.audit_python(print)
    except StackError as error:
        sys.exit(str(error))
    files = [word for name in LOCKED for word in ("-r", str(toolchain.DEV.parent / name))]
    # The locked versions are asked about as they stand: nothing is resolved anew.
    command = [str(python), "-m", "pip_audit", "--require-hashes", "--disable-pip", *files, *sys.argv[1:]]
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
