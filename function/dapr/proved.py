"""Names the versions of daprd on which the tests ran.

The function relies on what daprd does beyond its documentation: docs/canaries.md lists it, with the test of each fact.
"""

# The last one is the one to install: dev/go pins it, and SECURITY.md and docs/deploy.md name it. A test compares them.
PROVED = ("1.18.2", "1.18.3")
PINNED = PROVED[-1]

ADVICE = (
    f"Use daprd {PINNED}: `--version {PINNED}` of Dapr's chart, or the annotation dapr.io/sidecar-image (docs/deploy.md); "
    "or run the canaries on this one (docs/canaries.md)."
)
