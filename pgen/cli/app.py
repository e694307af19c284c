"""The Typer app, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import traceback
from types import FrameType, TracebackType
from typing import Annotated, NoReturn

import typer

from pgen import __version__
from pgen.cli import data, deploy, doctor, evaluate, models, plugin, sample, train
from pgen.cli.console import console, errors
from pgen.errors import UserError
from pgen.text import printable

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
        from pgen.cli.first import welcome

        welcome()


def main() -> None:
    """Entry point of the ``pgen`` script. Bad input ends with one sentence and exit code 2."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, _leave)
    try:
        app()
    except UserError as error:
        _fail(str(error), error)
    except Exception as error:
        _fail(_explained(error), error)
    finally:
        sys.excepthook = _print_traceback  # here, since Typer sets its own


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End as after an error, so that nothing unfinished is left."""
    sys.exit(128 + number)


def _explained(error: Exception) -> str:
    """What an unforeseen error means to a user. One that is a defect of pgen is raised again."""
    from pgen.plugins.entries import blamed

    # torch has no exception of its own for a CPU without memory.
    starved = isinstance(error, RuntimeError) and re.search("not enough memory|out of memory", str(error), re.IGNORECASE)
    if starved or isinstance(error, MemoryError):
        return f"memory does not suffice ({str(error).splitlines()[0]}); choose smaller batches, images or layers."
    if fault := blamed(error):
        return str(fault)
    if isinstance(error, OSError) and error.errno in _WAYS_OUT:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror}; {_WAYS_OUT[error.errno]}."
    raise error


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback, whose messages may quote a file, without the control characters in them."""
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace)), keep="\n"))


def _fail(sentence: str, error: Exception) -> None:
    if os.environ.get("PGEN_DEBUG"):
        raise error
    errors.print(f"Error: {printable(sentence)}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(getattr(error, "exit_code", UserError.exit_code))
