"""Parse pgen command lines without running them.

Reads a JSON list of lists of words from standard input, and writes what is wrong with each as JSON:
null if nothing is. ``pgen train`` validates its options as with ``--dry-run``, unless some of them
are in a file or a run that does not exist.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

import typer
from typer.main import get_command

from pgen.cli.app import app
from pgen.errors import PgenError


def find_problem(words: list[str]) -> str | None:
    command = get_command(app)
    try:
        context, path = command.make_context("pgen", list(words)), []
        while hasattr(command, "resolve_command"):
            rest = [*context._protected_args, *context.args]
            name, command, rest = command.resolve_command(context, rest)
            if command is None:
                return f"there is no command {name}"
            context = command.make_context(name, rest, parent=context)
            path.append(name)
        if path[0] == "train" and len(path) == 2 and not context.params["resume"] and not context.params["config"]:
            context.params["dry_run"] = True
            with contextlib.redirect_stdout(io.StringIO()):
                command.invoke(context)
    except typer.Exit:
        return None  # --help or --version
    except PgenError as error:
        return str(error)
    except Exception as error:  # from the parser, whose classes Typer does not export
        return getattr(error, "message", "") or repr(error)
    return None


if __name__ == "__main__":
    json.dump([find_problem(words) for words in json.load(sys.stdin)], sys.stdout)
