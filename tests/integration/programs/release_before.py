"""The function of an earlier commit: `python -m tests.integration.programs.release_before serve`.

RELEASE_BEFORE names a folder with the earlier `function` package, which is imported in place of today's.
"""

import os
import runpy
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.environ["RELEASE_BEFORE"])
    runpy.run_module("function", run_name="__main__", alter_sys=True)
