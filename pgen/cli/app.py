"""The Typer app, and the entry point of the ``pgen`` script."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pgen._version import __version__
from pgen.cli import streams
from pgen.cli.commands import data, deploy, doctor, evaluate, models, plugin, sample, train
from pgen.cli.console import echo, errors
from pgen.cli.error_messages import describe_error, describe_plugin_error, exit_code, print_traceback
from pgen.engine.runtime.signals import raise_on_signals
from pgen.errors import RankFailed, Stopped
from pgen.utils.caches import provide_caches
from pgen.utils.resources import raise_open_files

# Pydantic would search all installed packages for its plug-ins, a tenth of the time of a help page.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
# For the same bytes from the same seed: MKL would choose the number of its threads and the order of
# its sums anew in each process.
os.environ.setdefault("MKL_DYNAMIC", "FALSE")
os.environ.setdefault("MKL_CBWR", "AUTO")

#: Settings of commands that accept options which only the run knows.
OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}


class CommandsInOrder(TyperGroup):
    """Lists the commands in the order in which users need them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List the commands."""
        return ["data", "train", "deploy", "sample", "evaluate", "models", "plugin", "doctor"]


app = typer.Typer(
    cls=CommandsInOrder,
    help="Train, deploy, sample and evaluate generative models of liquid-argon detector images.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    # --g_lr, the spelling of the original code, is the same as --g-lr.
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": lambda name: name.replace("_", "-")},
)
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.command("deploy", context_settings=OPEN)(deploy.deploy)
app.command("sample", context_settings=OPEN)(sample.sample)
app.add_typer(evaluate.app, name="evaluate")
app.command("models")(models.models)
app.add_typer(plugin.app, name="plugin")
app.command("doctor")(doctor.doctor)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        echo(f"pgen {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Handle options of ``pgen`` itself, and print the first steps if there is no command."""
    if debug:
        os.environ["PGEN_DEBUG"] = "1"
    if context.invoked_subcommand is None:
        from pgen.cli.next_steps import print_welcome

        print_welcome()


def main() -> None:
    """Run the ``pgen`` script.

    The exit code is 2 for bad input, which is reported in one sentence, and 128 + n for signal n.
    """
    streams.protect()
    raise_on_signals()
    provide_caches()
    raise_open_files()
    try:
        app()
    except Stopped as stop:
        errors.print(f"Stopped by {signal.Signals(stop.signal).name}.")
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except RankFailed:
        sys.exit(2)  # another rank reports the cause
    except SystemExit as end:
        if message := describe_plugin_error(end):
            _fail(message, end)
        if not end.code and (error := streams.lost_output()):
            errors.print(f"The command is done, but standard output could not be written ({error.strerror}).", style="red", soft_wrap=True)
            sys.exit(1)
        raise
    except BaseException as error:
        _fail(describe_error(error, sys.argv[1:]), error)
    finally:
        sys.excepthook = print_traceback  # here, because Typer sets its own


def _fail(message: str, error: BaseException) -> None:
    if os.environ.get("PGEN_DEBUG"):
        raise error
    errors.print(f"Error: {message}", style="red", soft_wrap=True)
    sys.exit(exit_code(error))
