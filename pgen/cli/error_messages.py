"""Errors as sentences for the user, and the exit codes of the process."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from types import TracebackType

from pgen.errors import LostRank, PgenError, option_name
from pgen.utils.resources import describe_shortage, is_out_of_memory
from pgen.utils.text import printable

#: Errors of the system that the user can fix, and how. Others are defects of pgen and show a
#: traceback.
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space, or choose another place"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a place that you may read and write"),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP),
        "check what is there, or choose another place",
    ),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.EBUSY), "check the disk, or choose another place"),
    errno.ENAMETOOLONG: "choose a shorter name",
}
#: How each command can use less memory.
_LESS_MEMORY = {
    "train": "train with a smaller --batch-size or --sample-size, or with smaller layers",
    "deploy": "use a smaller --batch-size",
    "sample": "use a smaller --batch-size",
    "evaluate": "use fewer images, as in FILE:limit=1000",
    "data simulate": "use a smaller --size, or fewer --processes",
    "data info": "read fewer images, as in FILE:limit=1000",
    "data split": "split fewer images, as in FILE:limit=1000",
    "data": "process fewer images at a time, as in FILE:entries=0-1000, or use fewer --processes",
}
#: Packages that every command runs through.
_COMMAND_LINE = ("__main__", "pgen", "typer", "click", "runpy")


def with_flags(message: str) -> str:
    """Replace the parameters in a message of the library by flags.

    Example:
        "`batch_size=0`: too small" becomes "--batch-size 0: too small"; "`pgen data`" stays.
    """

    def to_flag(match: re.Match[str]) -> str:
        name, value = option_name(match[1]), match[2]
        return name if value is None else f"{name} {value}"

    return re.sub("`(?!pgen`)([a-z][a-z0-9_]*)(?:=([^`]*))?`", to_flag, message)


def exit_code(error: BaseException) -> int:
    """Return 2 for errors of the input, and 1 for those that another attempt may avoid."""
    return 1 if isinstance(error, LostRank) else 2


def describe_error(error: BaseException, arguments: list[str]) -> str:
    """Describe an error to the user.

    Args:
        error: The error.
        arguments: The arguments of the command.

    Returns:
        What was given, what is wrong and what to do.

    Raises:
        BaseException: ``error`` itself, if it is a defect of pgen.
    """
    if isinstance(error, PgenError):
        return with_flags(str(error))
    if is_out_of_memory(error):
        return f"Not enough memory ({describe_shortage(error)}): {_advise_on_memory(arguments)}."
    if message := describe_plugin_error(error):
        return with_flags(message)
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror}; {_REMEDIES[error.errno]}."
    raise error


def describe_plugin_error(error: BaseException) -> str | None:
    """Describe an error in the code of a plug-in; None for other errors."""
    modules = (str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__))
    if all(module.partition(".")[0] in _COMMAND_LINE for module in modules):
        return None  # without a search of the installed packages, for example when a command ends normally
    from pgen.plugins.entry_points import attribute_error_to_plugin

    plugin_error = attribute_error_to_plugin(error)
    return None if plugin_error is None else str(plugin_error)


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback without control characters, since its messages may quote a file."""
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace)), keep="\n"))


def _advise_on_memory(arguments: list[str]) -> str:
    command = " ".join(word for word in arguments if not word.startswith("-"))
    return next((advice for name, advice in _LESS_MEMORY.items() if command.startswith(name)), "run it where more is free")
