"""The errors that pgen raises, and how their messages name parameters, lists and the errors of libraries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class PgenError(Exception):
    """Base of all errors that pgen raises for a user to read.

    The message is one sentence: what was given, what is wrong, what to do. A parameter is named in
    backquotes, with or without its value (:func:`option`), which the command line turns into a flag.
    """


class DataError(PgenError, ValueError):
    """Images, latents, labels or other data that cannot be read or used."""


class ConfigError(PgenError, ValueError):
    """An option, or a combination of options, that is not possible."""


class PluginError(PgenError):
    """A plug-in that cannot be loaded, or does not keep to the plug-in API."""


class RunError(PgenError):
    """A run folder, checkpoint or weights file that is missing, damaged, locked or of another model."""


class DeviceError(PgenError, RuntimeError):
    """A device that is not there, or whose memory does not suffice."""


class LostRank(PgenError):
    """Another of the processes that train together has ended: no fault of the input, and worth another try."""


class RankFailed(BaseException):
    """Another rank failed and reports why; this one only ends. No ``Exception``, so that code that catches these lets it pass."""


class DamagedImage(DataError):
    """An image that cannot be used, in a source whose other images can.

    Attributes:
        reason: Why, in a few words.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ChoiceNeeded(DataError):
    """A sound source that holds several things that could be meant."""


class Stopped(BaseException):
    """A signal that ends a command.

    It is no ``Exception`` and no ``SystemExit``, so that code that catches these lets it pass;
    blocks that clean up still run.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
        self.exit_code = 128 + signal


#: The name by which plug-ins written before the other classes were there know the base class.
UserError = PgenError


def option(name: str, value: object = None) -> str:
    """Name a parameter in a message, as "`checkpoint`" or "`checkpoint=7`"; the command line shows ``--checkpoint 7``."""
    return f"`{name}`" if value is None else f"`{name}={value}`"


def listed(items: Iterable[object], most: int = 6, *, between: str = ", ", empty: str = "none") -> str:
    """The first ``most`` of some items and how many more there are; a file may hold thousands."""
    shown: list[str] = []
    more = 0
    for item in items:
        if len(shown) < most:
            shown.append(str(item))
        else:
            more += 1
    return between.join([*shown, *([f"... and {more:,} more"] if more else [])]) or empty


def option_name(name: str) -> str:
    """How an option is spelt on the command line."""
    return "--" + name.replace("_", "-")


def one_line(error: Exception) -> str:
    """An error of a library in one line."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return "; ".join(validation_messages(error))
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def validation_messages(error: ValidationError) -> list[str]:
    """Each wrong option with its value and what is wrong with it."""
    told = []
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        told.append(f"{option_name(str(item['loc'][0]))} {item['input']}: {message}" if item["loc"] else message)
    return told
