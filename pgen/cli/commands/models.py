"""`pgen models`: the models that can be trained."""

from pgen.cli.commands.train import model_command
from pgen.cli.console import console
from pgen.cli.error_messages import with_flags
from pgen.errors import PgenError


def models() -> None:
    """List the installed models. Models that do not load are listed with the cause."""
    from rich.table import Table
    from rich.text import Text

    from pgen.plugins import registry

    table = Table("name", "summary", "distribution", "version", "status")
    for line in registry.listing():
        style, problem = ("yellow" if line.summary else "red"), line.problem
        if not problem:
            try:
                model_command(line.name)
            except PgenError as error:
                style, problem = "red", str(error)
        status = Text(with_flags(problem), style=style) if problem else Text("ok", style="green")
        table.add_row(line.name, Text(line.summary), line.distribution, line.version, status)
    console.print(table)
