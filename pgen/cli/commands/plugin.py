"""`pgen plugin new` and `pgen plugin check`: for those who write a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.control import Control
from rich.segment import ControlType

from pgen.cli.console import console, errors
from pgen.cli.options import Threads
from pgen.utils.paths import expand_option

app = typer.Typer(help="Write a model of your own: a package to begin with, and checks of what pgen asks of it.", no_args_is_help=True)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the model, as `pgen train` will be given it.")],
    out: Annotated[Path, typer.Option(help="Folder in which the package's folder is made.", callback=expand_option)] = Path(),
) -> None:
    """Write the package of a new model: options, a small working model, a test, CI."""
    from pgen.plugins.scaffold import new_plugin

    folder = new_plugin(name, out)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    following = f"pip install -e {folder}, then pgen plugin check {name}, and pgen train {name} --data simulate"
    console.print(f"Next: {following}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Name of an installed model.")],
    data: Annotated[
        str | None, typer.Option(help="Images, or targets, to try it on. [default: simulated ones of 32x32]", show_default=False)
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML or JSON file of the model's options, where its defaults do not suit.")] = None,
    threads: Threads = None,
) -> None:
    """Check that a model keeps to what pgen asks of it: options, gradients, resuming, samples, deploying. Exit code 1 where it does not."""
    from pgen.cli.options import read_config
    from pgen.testing.conformance import DATA, run_checks

    def beginning(told: str) -> None:
        if errors.is_terminal:
            errors.print(f"{told} ...", style="dim", end="")
            errors.control(Control((ControlType.CARRIAGE_RETURN,)))

    failed = 0
    for found in run_checks(name, data=data or DATA, options=read_config(config), on_start=beginning):
        sign, style, why = (
            ("✗", "red", found.problem) if found.problem else ("–", "dim", found.skipped) if found.skipped else ("✓", "green", "")
        )
        console.print(f"{sign} {found.name}" + (f": {why}" if why else ""), style=style, markup=False, highlight=False, soft_wrap=True)
        failed += bool(found.problem)
    if failed:
        errors.print(f"{name}: {failed} of pgen's checks failed.", style="red", markup=False, highlight=False)
        raise typer.Exit(1)
    console.print(f"{name} passes all checks.", markup=False, highlight=False)
