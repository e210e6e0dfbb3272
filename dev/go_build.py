"""Builds a program from a Go module and shows how many of its packages are compiled."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev.steps import Say, Work, follow

# One line for each package that is not in Go's cache. The main package is left out: it is compiled last, and `go list`
# calls it stale even when it is cached.
_TO_COMPILE = "to compile: "
_LIST = f'{{{{if .Stale}}}}{{{{if ne .Name "main"}}}}{_TO_COMPILE}{{{{.ImportPath}}}}{{{{end}}}}{{{{end}}}}'


class Fetching(Work):
    """Counts the modules that `go list` fetches, and collects the packages that are not yet compiled."""

    def __init__(self, name: str) -> None:
        super().__init__(f"fetching modules for {name}", "modules", lambda line: line.startswith("go: downloading "))
        self.packages: set[str] = set()

    def see(self, line: str) -> None:
        super().see(line)
        if line.startswith(_TO_COMPILE):
            self.packages.add(line.removeprefix(_TO_COMPILE))


def compiling(name: str, packages: set[str]) -> Work:
    """Counts the packages in the output of `go build -v`, which names each one when it begins to compile it."""
    if not packages:
        return Work(f"linking {name}")
    return Work(f"building {name}", "packages", packages.__contains__, len(packages), "linking")


def go_build(
    target: Path,
    flags: Sequence[str],
    arguments: Sequence[str],
    log: Path,
    say: Say,
    *,
    cwd: Path,
    env: Mapping[str, str],
) -> None:
    """Builds `target` with `go build FLAGS ARGUMENTS` in the module at `cwd`. `go list` gets the same flags: a package compiled
    with other flags counts as stale. It also fetches the modules, but only those that this program needs."""
    began, name = time.monotonic(), target.name
    log.write_bytes(b"")
    say(f"fetching modules for {name}")
    fetching = Fetching(name)
    follow(["go", "list", "-deps", "-f", _LIST, *flags, *arguments], log, fetching, say, cwd=cwd, env=env)
    say(f"building {name}: {len(fetching.packages):,} packages are not in Go's cache")
    work = compiling(name, fetching.packages)
    follow(["go", "build", "-v", *flags, "-o", str(target), *arguments], log, work, say, cwd=cwd, env=env)
    say(f"{name}: built ({time.monotonic() - began:.0f} s)")
