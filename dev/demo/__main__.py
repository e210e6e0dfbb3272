"""Runs the demo: `python -m dev.demo`. Exit code 1 if anything differs from what is expected."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from dev.__main__ import open_stack, run, run_server, say, start_function
from dev.demo.playing import Log, dead_letters, log_of_dapr, play
from dev.demo.scene import Scene
from dev.demo.tables import WIDTH, draw, new_console, show_accounts, show_events, show_letters, show_visits
from dev.demo.under_mas import MasScene
from dev.mas_stack import STAND_IN, MasStack
from dev.processes import StackError
from dev.servers.kafka import TOPIC
from dev.stack import Stack


def run_demo(stack: Stack, console: Console, log: Log) -> bool:
    """Plays the demo on a running stack and function, and shows it. Returns whether everything is as expected."""
    scene = MasScene(stack) if isinstance(stack, MasStack) else Scene(stack)
    say("creating accounts and rooms")
    scene.prepare()
    script = list(scene.steps())
    say(f"sending {len(script)} records to {TOPIC}")
    play(stack, scene.people, script, log)
    shown = (
        show_events(console, script),
        show_accounts(console, scene.people, scene.sides()),
        show_visits(console, list(scene.visits())),
        show_letters(console, dead_letters(stack, scene.people), script),
    )
    return all(shown)


def demo(
    mas: Annotated[bool, typer.Option("--mas", help="MAS owns the accounts: the stand-in for it runs too.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Also write the tables to this file, as SVG.")] = None,
) -> None:
    """Run the demo; stop afterwards what was not running before."""
    console = new_console()
    if picture:
        console.width = WIDTH
    stack = open_stack(mas=mas)
    was_up = run_server(stack).running()
    try:
        stack.start()
        start_function(stack)
        good = run_demo(stack, console, lambda: log_of_dapr(run_server(stack).log))
    except StackError as error:
        console.print(Text.assemble(("demo:", "red"), f" {error}"), soft_wrap=True)
        good = False
    finally:
        if not was_up:
            say("stopping everything")
            run_server(stack).stop()
            stack.stop()
    console.print("[green]Everything is as expected.[/]" if good else "[red]Not everything is as expected.[/]")
    if mas:
        console.print(f"MAS was {STAND_IN}.")
    if picture and good:
        draw(console, picture)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    run(lambda: typer.run(demo))
