"""The Typer app, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from types import TracebackType
from typing import Annotated

import typer

from pgen import __version__
from pgen.cli import streams
from pgen.cli.commands import data, deploy, doctor, evaluate, models, plugin, sample, train
from pgen.cli.console import console, errors, with_flags
from pgen.engine.runtime.signals import raise_on_signals
from pgen.errors import LostRank, PgenError, RankFailed, Stopped
from pgen.utils.caches import provide_caches
from pgen.utils.resources import describe_shortage, is_out_of_memory, raise_open_files
from pgen.utils.text import printable

# Pydantic would look through all installed packages for plug-ins of its own: a tenth of the time of a help page.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
# The same bytes from the same seed: MKL would choose its number of threads and its order of sums from one process to the next.
os.environ.setdefault("MKL_DYNAMIC", "FALSE")
os.environ.setdefault("MKL_CBWR", "AUTO")

#: Errors of the system that are the user's to mend, and how. Any other is a defect of pgen and shows its traceback.
_WAYS_OUT = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space, or choose another place"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a place that you may read and write"),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP),
        "see what lies there, or choose another place",
    ),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.EBUSY), "see whether the disk is sound, or choose another place"),
    errno.ENAMETOOLONG: "choose a shorter name",
}

#: Packages through which every command goes.
_COMMAND_LINE = ("__main__", "pgen", "typer", "click", "runpy")
#: How each command can do with less memory.
_LESS_MEMORY = {
    "train": "train with a smaller --batch-size or --sample-size, or with smaller layers",
    "deploy": "give a smaller --batch-size",
    "sample": "give a smaller --batch-size",
    "evaluate": "give fewer images, as FILE:limit=1000",
    "data simulate": "give a smaller --size, or fewer --processes",
    "data info": "look at fewer images, as FILE:limit=1000",
    "data split": "divide fewer images, as FILE:limit=1000",
    "data": "give fewer images at a time, as FILE:entries=0-1000, or fewer --processes",
}

#: Options that only the run knows are left to the command.
OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    help="Train, deploy, sample and evaluate generative models of liquid-argon detector images.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    # The original code's spelling --g_lr is the same as --g-lr.
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": lambda name: name.replace("_", "-")},
)
app.add_typer(train.app, name="train")
app.command("deploy", context_settings=OPEN)(deploy.deploy)
app.command("sample", context_settings=OPEN)(sample.sample)
app.add_typer(evaluate.app, name="evaluate")
app.command("models")(models.models)
app.add_typer(data.app, name="data")
app.command("doctor")(doctor.doctor)
app.add_typer(plugin.app, name="plugin")


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"pgen {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    if debug:
        os.environ["PGEN_DEBUG"] = "1"
    if context.invoked_subcommand is None:
        from pgen.cli.next_steps import welcome

        welcome()


def main() -> None:
    """Entry point of the ``pgen`` script. Bad input ends with one sentence and exit code 2, a signal with 128 + its number."""
    streams.protect()
    raise_on_signals()
    provide_caches()
    raise_open_files()
    try:
        app()
    except Stopped as stop:
        errors.print(f"Stopped by {signal.Signals(stop.signal).name}.", markup=False, highlight=False)
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except RankFailed:
        sys.exit(2)  # another rank reports why
    except PgenError as error:
        _fail(str(error), error)
    except SystemExit as end:
        if fault := _blamed(end):
            _fail(fault, end)
        if not end.code and (lost := streams.lost_output()):
            errors.print(f"Standard output could not be written ({lost.strerror}); what was done is done.", style="red", soft_wrap=True)
            sys.exit(1)
        raise
    except BaseException as error:
        _fail(_explained(error), error)
    finally:
        sys.excepthook = _print_traceback  # here, since Typer sets its own


def _blamed(error: BaseException) -> str | None:
    """What is to be said of an error in a plug-in's code."""
    if all(str(frame.f_globals.get("__name__")).partition(".")[0] in _COMMAND_LINE for frame, _ in traceback.walk_tb(error.__traceback__)):
        return None  # known without a look at what is installed, as when a command ends as it should
    from pgen.plugins.entry_points import attribute_error_to_plugin

    fault = attribute_error_to_plugin(error)
    return None if fault is None else str(fault)


def _explained(error: BaseException) -> str:
    """What an unforeseen error means to a user. One that is a defect of pgen is raised again."""
    if is_out_of_memory(error):
        return f"Memory does not suffice ({describe_shortage(error)}); {_way_to_less_memory(sys.argv[1:])}."
    if fault := _blamed(error):
        return fault
    if isinstance(error, OSError) and error.errno in _WAYS_OUT:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror}; {_WAYS_OUT[error.errno]}."
    raise error


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback, whose messages may quote a file, without the control characters in them."""
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace)), keep="\n"))


def _way_to_less_memory(arguments: list[str]) -> str:
    """What takes less memory, of the command that was given."""
    command = " ".join(word for word in arguments if not word.startswith("-"))
    return next((way for name, way in _LESS_MEMORY.items() if command.startswith(name)), "run it where more is free")


def _fail(sentence: str, error: BaseException) -> None:
    if os.environ.get("PGEN_DEBUG"):
        raise error
    errors.print(f"Error: {printable(with_flags(sentence))}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1 if isinstance(error, LostRank) else 2)
