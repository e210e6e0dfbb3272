"""Finds or builds everything that `make k8s-test` needs: `python -m dev.k8s`. Starts nothing."""

from dev.__main__ import run, say
from dev.k8s.toolchain import everything

if __name__ == "__main__":
    run(lambda: everything(say))
