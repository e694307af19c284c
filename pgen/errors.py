"""Errors that pgen raises, and helpers for their messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class PgenError(Exception):
    """Base class of all errors that are messages to the user.

    A message says what was given, what is wrong and what to do. It names parameters by
    :func:`option`; the command line shows them as flags.
    """


class DataError(PgenError, ValueError):
    """Images, latents, labels or other data that cannot be read or used."""


class ConfigError(PgenError, ValueError):
    """An option, or a combination of options, that is not possible."""


class PluginError(PgenError):
    """A plug-in that cannot be loaded, or does not keep to the plug-in API."""


class RunError(PgenError):
    """A run, checkpoint or weights file that is missing, damaged, locked or of another model."""


class DeviceError(PgenError, RuntimeError):
    """A device that does not exist or has too little memory."""


class LostRank(PgenError):
    """Another process of the same training has ended; a new attempt may succeed."""


class RankFailed(BaseException):
    """Raised on a rank that ends because another rank failed, which reports the cause.

    Code that catches ``Exception`` does not catch it.
    """


class DamagedImage(DataError):
    """An image that cannot be used, in a source whose other images can be.

    Attributes:
        reason: The cause in a few words.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ChoiceNeeded(DataError):
    """A valid source with several candidates, one of which the user must choose."""


class Stopped(BaseException):
    """Raised when a signal ends a command.

    Code that catches ``Exception`` or ``SystemExit`` does not catch it; ``finally`` blocks run.

    Attributes:
        signal: Number of the signal.
        exit_code: Exit code of the process.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
        self.exit_code = 128 + signal


#: Former name of the base class, for plug-ins that use it.
UserError = PgenError


def option(name: str, value: object = None) -> str:
    """Name a parameter in a message.

    Returns:
        "`checkpoint`" or "`checkpoint=7`", which the command line shows as ``--checkpoint 7``.
    """
    return f"`{name}`" if value is None else f"`{name}={value}`"


def format_list(items: Iterable[object], most: int = 6, *, between: str = ", ", empty: str = "none") -> str:
    """Join the first ``most`` items and say how many more there are; a file may have thousands."""
    texts = list(map(str, items))
    more = [f"... and {len(texts) - most:,} more"] if len(texts) > most else []
    return between.join([*texts[:most], *more]) or empty


listed = format_list


def option_name(name: str) -> str:
    """Return the command-line flag of a parameter."""
    return "--" + name.replace("_", "-")


def one_line(error: Exception) -> str:
    """Describe an error of a library in one line."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return "; ".join(validation_messages(error))
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def validation_messages(error: ValidationError) -> list[str]:
    """List the invalid parameters of a pydantic model, each with its value and the problem."""
    messages = []
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        messages.append(f"{option(str(item['loc'][0]), item['input'])}: {message}" if item["loc"] else message)
    return messages
