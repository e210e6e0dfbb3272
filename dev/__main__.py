"""Starts and stops the local stack and the function on it: `python -m dev`."""

import os
import sys
import time
from collections.abc import Callable
from typing import Annotated

import httpx
import typer
import yaml
from rich.console import Console
from rich.text import Text

from dev import toolchain
from dev.mas_stack import MasStack
from dev.processes import Server, StackError, listens
from dev.servers.daprd import Tool
from dev.servers.synapse import write_private
from dev.stack import Stack

ROOT = toolchain.DEV.parent
LETTERS = ("dead-letters", "replay", "discard")
cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console(highlight=False)


def say(line: str) -> None:
    console.print(f"  {line}", markup=False, soft_wrap=True)


def open_stack(*, mas: bool, partitions: int = 12, postgres: bool = False) -> Stack:
    """Returns the stack to start. Raises StackError if the other one is up: both have the same ports."""
    other = Stack() if mas else MasStack()
    if other.kafka.server.running():
        raise StackError(f"the stack {'without' if mas else 'with'} MAS is up: `make down` stops it")
    if not mas:
        return Stack(partitions=partitions, postgres=postgres, say=say)
    stack = MasStack(partitions=partitions, postgres=postgres, say=say)
    if not stack.mas.server.running():
        run_server(stack).stop()  # its start begins with empty data, and deletes the pid file of what a crash has left
    return stack


def run_server(stack: Stack) -> Server:
    """Returns `dapr run -f dapr.yaml` on this stack, whose processes share one session."""
    return Server("dapr", stack.folder)


def start_function(stack: Stack) -> None:
    """Runs the function with `dapr run -f dapr.yaml`, in the background, until it is ready."""
    server, ports = run_server(stack), stack.ports
    if not server.running():
        server.stop()  # daprd and the function outlive a dapr CLI that was killed
        for port in (ports.app, ports.dapr_http, ports.dapr_grpc, ports.dapr_internal, ports.dapr_metrics):
            if listens(port):
                raise StackError(f"port {port} is taken: end what listens there (`ss -ltnp 'sport = :{port}'`)")
        toolchain.daprd(say)
        command = [str(toolchain.dapr_cli(say)), "run", "-f", str(ROOT / "dapr.yaml")]
        began = time.monotonic()
        say("function: starting with `dapr run -f dapr.yaml`")
        server.start(command, env=os.environ | sidecar_environment(stack), cwd=ROOT)
        server.wait_ready(lambda: _ready(ports.app), 90)
        say(f"function: ready on 127.0.0.1:{ports.app} ({time.monotonic() - began:.1f} s)")


def sidecar_environment(stack: Stack) -> dict[str, str]:
    """Returns the `env` of dapr.yaml, and what this stack adds: `dapr run -f` gives `env` to the function only, and
    the sidecar needs it too (envRef, tokens). Also writes it to the file dapr.env, for those who start `dapr run`."""
    given: dict[str, str] = yaml.safe_load((ROOT / "dapr.yaml").read_text())["apps"][0]["env"]
    environment = given | stack.env()
    write_private(stack.folder / "dapr.env", "".join(f"{name}={value}\n" for name, value in environment.items()))
    return environment


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def write_addresses(stack: Stack) -> dict[str, str]:
    """Writes the stack's file stack.env, for shells and scripts."""
    addresses = {
        "KAFKA_BROKERS": stack.kafka.brokers,
        "MATRIX_HOMESERVER_URL": stack.synapse.url,
        "MATRIX_ADMIN_TOKEN_FILE": str(stack.synapse.token_file),
        "DAPR_HTTP_PORT": str(stack.ports.dapr_http),
        "APP_PORT": str(stack.ports.app),
    } | ({"MATRIX_MAS_URL": stack.mas.url} if isinstance(stack, MasStack) else {})
    write_private(stack.folder / "stack.env", "".join(f"{name}={value}\n" for name, value in addresses.items()))
    return addresses


@cli.command()
def up(
    servers_only: Annotated[bool, typer.Option(help="Start the servers, not the function.")] = False,
    postgres: Annotated[bool, typer.Option(help="Run Synapse on PostgreSQL instead of SQLite.")] = False,
    mas: Annotated[bool, typer.Option("--mas", help="MAS owns the accounts: the stand-in for it runs too.")] = False,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each Kafka topic.")] = 12,
) -> None:
    """Start Kafka, Synapse and the function, and keep them running. Running servers are kept."""
    stack = open_stack(mas=mas, partitions=partitions, postgres=postgres)
    try:
        stack.start()
        if not servers_only:
            start_function(stack)
    except BaseException:
        run_server(stack).stop()
        stack.stop()
        raise
    folder = stack.folder.relative_to(ROOT)
    console.print(f"\nUp. Addresses, also in {folder}/stack.env:")
    for name, value in write_addresses(stack).items():
        say(f"{name}={value}")
    console.print(f"Logs are in {folder}/logs. `make down` stops everything.")


@cli.command()
def down(
    purge: Annotated[bool, typer.Option(help="Also delete the data: accounts, topics, state.")] = False,
) -> None:
    """Stop everything that `up` started, also after a crash."""
    for stack in (MasStack(say=say), Stack(say=say)):
        run_server(stack).stop()
        if purge:
            stack.remove()
        else:
            stack.stop()
    console.print("Down." + (" The data is deleted." if purge else ""))


@cli.command("tools")
def make_tools() -> None:
    """Find or build everything that the stack needs, and start nothing."""
    for make in (
        toolchain.daprd,
        toolchain.dapr_cli,
        toolchain.kafka_jars,
        toolchain.synapse_python,
        toolchain.promtool,
        toolchain.actionlint,
        toolchain.kustomize,
        toolchain.compose,
    ):
        say(f"ready: {make(say)}")


@cli.command("letters", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def letters(context: typer.Context) -> None:
    """Run `dead-letters`, `replay` or `discard`, with its options, on the running stack, with the function's sidecar."""
    command, *options = context.args or [""]
    if command not in LETTERS:
        raise StackError(f"expected one of {', '.join(LETTERS)}, then its options")
    stack = next((one for one in (Stack(), MasStack()) if run_server(one).running()), None)
    if stack is None:
        raise StackError("the function and its sidecar are not up: `make up` starts them")
    environment = sidecar_environment(stack)
    raise typer.Exit(Tool(environment, command).run(*options, capture=False).returncode)


def run(command: Callable[[], object] = cli) -> None:
    """Runs a command; a StackError ends in one clear message, not in a traceback."""
    try:
        command()
    except StackError as error:
        # As Text: the end of a log may hold brackets, which rich would read as markup.
        console.print(Text.assemble(("stack:", "red"), f" {error}"), soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    run()
