"""`python -m function` is the console script `matrix-account-sync`."""

from function.cli import main

main()
