"""The one exception that reaches a user as a sentence, and how wrong options are told in one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """Bad input, told in one sentence: what was named, what was found, what was wanted, and a way out.

    The command line prints the sentence and leaves with ``exit_code``; ``--debug`` shows the traceback.
    """

    exit_code = 2


class LostRank(UserError):
    """Another of the processes that train together has ended: no fault of the input, and worth another try."""

    exit_code = 1


class DamagedImage(UserError):
    """An image that cannot be used, in a source whose others can; ``reason`` says why in few words."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Stopped(BaseException):
    """A signal that ends a command. No ``Exception`` and no ``SystemExit``, so that code of others which is guarded against these lets it
    through; blocks that clean up are left in order."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
        self.exit_code = 128 + signal


class ChoiceNeeded(UserError):
    """A source that is sound and holds more than one thing that could be meant."""


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
