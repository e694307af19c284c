"""The one exception that reaches a user as a sentence, and how wrong options are told in one."""

from __future__ import annotations

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


class ChoiceNeeded(UserError):
    """A source that is sound and holds more than one thing that could be meant."""


def flag(name: str) -> str:
    """How an option is spelt on the command line."""
    return "--" + name.replace("_", "-")


def described(error: Exception) -> str:
    """An error of a library in one line."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return "; ".join(problems(error))
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def problems(error: ValidationError) -> list[str]:
    """Each wrong option with its value and what is wrong with it."""
    told = []
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        told.append(f"{flag(str(item['loc'][0]))} {item['input']}: {message}" if item["loc"] else message)
    return told
