"""Finds or builds the tools of the local stack: daprd, the dapr CLI, Prometheus, an old kustomize and a validator from Go modules, Kafka's
jars with Maven, Synapse in its own virtual environment. Everything is built once, in dev/.tools."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dev.go_build import go_build
from dev.processes import StackError
from dev.steps import Say, Work, follow
from function.dapr.proved import PINNED, PROVED

DEV = Path(__file__).parent
TOOLS = DEV / ".tools"
# The oldest kubectl that docs/deploy.md names, and the modules of kustomize that it is built from.
OLDEST_KUBECTL = "1.27"
OLDEST_KUSTOMIZE = {"kustomize/v5": "v5.0.1", "api": "v0.13.2", "kyaml": "v0.14.1"}


def daprd(say: Say) -> Path:
    """Returns a proved daprd at dev/.tools/.dapr/bin/daprd, where `dapr run` looks for it (runtimePath in dapr.yaml)."""
    target = TOOLS / ".dapr" / "bin" / "daprd"
    found = _on_this_machine("daprd", rf"^({'|'.join(map(re.escape, PROVED))})\s*$")
    if found and (target.is_symlink() or not target.exists()):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # it may be a dangling link
        target.symlink_to(found)
        return target
    # Without the version, daprd calls itself "edge".
    link = f"-X github.com/dapr/dapr/pkg/buildinfo.version={PINNED}"
    go_program("daprd", ["-tags", "stablecomponents", "github.com/dapr/dapr/cmd/daprd"], target, say, link)
    return target


def dapr_cli(say: Say) -> Path:
    found = _on_this_machine("dapr", r"CLI version: 1\.(1[6-9]|[2-9]\d)\.")
    if found:
        return found
    target = TOOLS / "dapr"
    go_program("dapr-cli", ["github.com/dapr/cli"], target, say)
    return target


def actionlint(say: Say) -> Path:
    """Returns actionlint, which checks the workflows of a public forge."""
    return go_program("actionlint", ["github.com/rhysd/actionlint/cmd/actionlint"], TOOLS / "actionlint", say)


def promtool(say: Say) -> Path:
    """Returns promtool, which tests alerting rules; Debian's package `prometheus` has it too."""
    return _prometheus("promtool", say)


def prometheus(say: Say) -> Path:
    return _prometheus("prometheus", say)


def _prometheus(program: str, say: Say) -> Path:
    found = _on_this_machine(program, rf"{program}, version (2\.4[2-9]|2\.5\d|[3-9])\.")
    if found:
        return found
    target = TOOLS / program
    # Without service discovery in clouds, which is most of the code.
    go_program("prometheus", ["-tags", "remove_all_sd", f"github.com/prometheus/prometheus/cmd/{program}"], target, say)
    return target


def kustomize(say: Say) -> Path:
    """Returns the kustomize that the oldest kubectl embeds: `kustomize build` renders what its `kubectl kustomize` does."""
    target = TOOLS / "kustomize"
    go_program("kustomize", ["sigs.k8s.io/kustomize/kustomize/v5"], target, say)
    return target


def compose(say: Say) -> Path:
    """Returns the loader of `docker compose`, which validates a compose file."""
    target = TOOLS / "compose"
    go_program("compose", ["github.com/compose-spec/compose-go/v2/cmd"], target, say)
    return target


def kafka_jars(say: Say) -> Path:
    """Returns the folder of the broker's jars."""
    need("java", "a JDK 17 or later (Debian: openjdk-17-jdk-headless)")
    target, pom = TOOLS / "kafka", DEV / "kafka" / "pom.xml"
    with _once(target, [pom]) as missing:
        if missing:
            need("mvn", "Maven (Debian: maven)")
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={target}"]
            _run(
                "kafka-jars",
                "fetching Kafka with Maven (about a minute)",
                ["mvn", "-q", "-B", "-f", str(pom), *goal],
                say,
            )
    return target


def synapse_python(say: Say) -> Path:
    """Returns the Python of Synapse's virtual environment."""
    return _environment("synapse", DEV / "synapse" / "requirements.txt", "Synapse (about 40 seconds)", say)


def peers_python(say: Say) -> Path:
    """Returns the Python of the virtual environment of the benchmark's peers."""
    return _environment("peers", DEV.parent / "requirements-bench.txt", "the benchmark's peers (about 15 seconds)", say)


def _environment(name: str, locked: Path, what: str, say: Say) -> Path:
    """Returns the Python of a virtual environment in dev/.tools, made from the locked requirements."""
    target = TOOLS / name
    python = target / "bin" / "python"
    with _once(target, [locked]) as missing:
        if missing:
            shutil.rmtree(target, ignore_errors=True)
            _run(
                f"{name}-venv",
                f"making a virtual environment for {name}",
                [sys.executable, "-m", "venv", str(target)],
                say,
            )
            options = ["-q", "--only-binary", ":all:", "--require-hashes", "-r", str(locked)]
            _run(f"{name}-install", f"installing {what}", [str(python), "-m", "pip", "install", *options], say)
    return python


def postgres(program: str) -> Path:
    """Returns a program of PostgreSQL's server, such as `initdb`; Debian does not put them on PATH."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = next((home / program for home in homes if (home / program).exists()), None)
    if found or (on_path := shutil.which(program)) is None:
        if found is None:
            raise StackError(f"{program} is missing: install PostgreSQL's server (Debian: postgresql)")
        return found
    return Path(on_path)


def need(program: str, what: str) -> None:
    if shutil.which(program) is None:
        raise StackError(f"{program} is missing: install {what} and try again")


def _on_this_machine(program: str, version: str) -> Path | None:
    """Returns the program from PATH or from where `dapr init` installs it, if its version matches."""
    for candidate in (shutil.which(program), Path.home() / ".dapr" / "bin" / program):
        if candidate and os.access(candidate, os.X_OK):
            said = subprocess.run([candidate, "--version"], capture_output=True, text=True, timeout=20, check=False)
            if re.search(version, said.stdout):
                return Path(candidate)
    return None


def go_program(module: str, arguments: Sequence[str], target: Path, say: Say, link: str = "") -> Path:
    """Builds a program from the Go module dev/go/MODULE, which pins every version; `link` holds further linker flags."""
    folder = DEV / "go" / module
    with _once(target, [folder / "go.mod", folder / "go.sum"]) as missing:
        if missing:
            need("go", "Go 1.24 or later (https://go.dev/doc/install)")
            say(f"building {target.name} from its Go module: minutes the first time, seconds later")
            env = os.environ | {"GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
            flags = ["-trimpath", f"-ldflags=-s -w {link}"]
            go_build(target, flags, arguments, TOOLS / f"{target.name}.log", say, cwd=folder, env=env)
    return target


@contextmanager
def _once(target: Path, sources: Sequence[Path]) -> Iterator[bool]:
    """Yields whether `target` must be built from `sources`; a lock admits one builder at a time, also across processes.
    A stamp next to the target holds the digest of its sources, so that a half-built target counts as missing."""
    TOOLS.mkdir(exist_ok=True)
    stamp = TOOLS / f"{target.name}.stamp"
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    with (TOOLS / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not target.exists() or not stamp.exists() or stamp.read_text() != digest
        yield missing
        stamp.write_text(digest)


def _run(name: str, what: str, command: Sequence[str], say: Say) -> None:
    log = TOOLS / f"{name}.log"
    log.write_bytes(b"")
    say(what)
    follow(command, log, Work(what), say)
