"""`pgen plugin`: write a model of your own, and check it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.control import Control
from rich.segment import ControlType

from pgen.cli.console import echo, echo_message, errors, print_next_steps
from pgen.cli.error_messages import with_flags
from pgen.cli.options import Threads
from pgen.utils.paths import expand_option

HELP = "Write your own model: create a package for it, and check the model."

app = typer.Typer(help=HELP, no_args_is_help=True)


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model, as in pgen train NAME.")],
    out: Annotated[Path, typer.Option(help="Folder in which to create the package.", callback=expand_option)] = Path(),
) -> None:
    """Create a package with a small working model, its options, a test and CI."""
    from pgen.plugins.scaffold import new_plugin

    folder = new_plugin(name, out)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        echo(path)
    print_next_steps(f"pip install -e {folder}, then pgen plugin check {name}, and pgen train {name} --data simulate")


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of an installed model.")],
    data: Annotated[
        str | None, typer.Option(help="Images or latent codes to train the model on.", show_default="simulated images of 32x32 pixels")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML or JSON file with options of the model.")] = None,
    threads: Threads = None,
) -> None:
    """Check an installed model: options, gradients, resuming, samples and deployment.

    The exit code is 1 if a check fails.
    """
    from pgen.cli.options import read_config
    from pgen.testing.conformance import DATA, run_checks

    def show_title(title: str) -> None:
        if errors.is_terminal:
            errors.print(f"{title} ...", style="dim", end="")
            errors.control(Control((ControlType.CARRIAGE_RETURN,)))

    failures = 0
    for result in run_checks(name, data=data or DATA, options=read_config(config), on_start=show_title):
        if result.problem:
            failures += 1
            echo(f"✗ {result.name}: {with_flags(result.problem)}", style="red")
        elif result.skipped:
            echo(f"– {result.name}: {result.skipped}", style="dim")
        else:
            echo(f"✓ {result.name}", style="green")
    if failures:
        echo_message(f"{name}: {failures} check{'s' * (failures > 1)} failed.", style="red")
        raise typer.Exit(1)
    echo(f"{name} passes all checks.")
